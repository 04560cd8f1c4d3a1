"""Which room of the package imports which, and the picture of it: ``python docs/draw_imports.py``.

The picture is docs/images/rooms_imports.svg; tests/test_architecture.py says when it is out of date.
"""

import ast
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'diff2in1_mm'
PICTURE = ROOT / 'docs' / 'images' / 'rooms_imports.svg'
#: From the foundation up: a room imports from rooms before it only. The one place where this order stands.
ORDER = (
    'utils',
    'tasks',
    'diffusion',
    'visualization',
    'store',
    'models',
    'datasets',
    'formats',
    'browse',
    'evaluation',
    'creation',
    'hooks',
    'launch',
    'pretraining',
    'preflight',
    'conversion',
    'switch_in',
    'self_improving',
    'comparison',
)

Imports = dict[str, set[str]]

WIDTH, HEIGHT, GAP, RISE = 200, 46, 26, 104  # of a box, between two boxes, and from layer to layer, in pixels


def rooms(package: Path = PACKAGE) -> list[str]:
    """Names of the folders of the package that hold modules."""
    return sorted(folder.name for folder in package.iterdir() if (folder / '__init__.py').is_file())


def room_imports(package: Path = PACKAGE) -> Imports:
    """For every room the other rooms that its modules import from, wherever in a module they do."""
    found: Imports = {room: set() for room in rooms(package)}
    for room in found:
        for path in (package / room).rglob('*.py'):
            for module in _imported(path, package):
                parts = module.split('.')
                if parts[0] == package.name and len(parts) > 1 and parts[1] in found:
                    found[room].add(parts[1])
        found[room].discard(room)
    return found


def _imported(path: Path, package: Path) -> list[str]:
    """Full names of what a module imports, names in it included."""
    modules = []
    here = path.relative_to(package.parent).parts
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level]] if node.level else []
            base += node.module.split('.') if node.module else []
            modules += ['.'.join([*base, alias.name]) for alias in node.names]
    return modules


def upward_imports(imports: Imports) -> list[str]:
    """Imports against ``ORDER``, as sentences; without any there are no circles either."""
    place = {room: number for number, room in enumerate(ORDER)}
    return [
        f'{room} imports {other}, which stands above it'
        for room, others in imports.items()
        for other in sorted(others)
        if place[other] >= place[room]
    ]


def reach(imports: Imports, room: str) -> set[str]:
    """The rooms that a room leans on, directly or through others."""
    return set().union(*({other} | reach(imports, other) for other in imports[room]))


def without_implied(imports: Imports) -> Imports:
    """Only the imports that do not follow from others."""
    return {
        room: {other for other in others if not any(other in reach(imports, third) for third in others - {other})}
        for room, others in imports.items()
    }


def layers(imports: Imports) -> list[list[str]]:
    """Rooms by the longest chain of imports under them, the foundation first."""
    depth: dict[str, int] = {}
    for room in (room for room in ORDER if room in imports):
        depth[room] = 1 + max((depth[other] for other in imports[room]), default=-1)
    return [[room for room in depth if depth[room] == level] for level in range(max(depth.values()) + 1)]


def draw(imports: Imports) -> str:
    """The picture as SVG: a box per room, arrows for imports that do not follow from others, the rest in words."""
    arrows = without_implied(imports)
    slots, routes = _place(layers(imports), arrows)
    width = max(x for x, _ in slots.values()) + WIDTH / 2 + GAP
    height = max(y for _, y in slots.values()) + HEIGHT + GAP
    style = "font-family='sans-serif' text-anchor='middle'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
        f"width='{width:.0f}' height='{height:.0f}'>",
        "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' markerHeight='7' orient='auto'>"
        "<path d='M0,0L10,5L0,10z' fill='#5a6b7b'/></marker></defs>",
        "<rect width='100%' height='100%' fill='white'/>",
    ]
    parts += [f"<path d='{_curve(route)}' fill='none' stroke='#5a6b7b' marker-end='url(#tip)'/>" for route in routes]
    for room in imports:
        x, y = slots[room]
        rest = ', '.join(sorted(imports[room] - arrows[room] - {'utils'}))
        parts += [
            f"<rect x='{x - WIDTH / 2:.0f}' y='{y:.0f}' width='{WIDTH}' height='{HEIGHT}' rx='6' fill='#eaf2fb' "
            "stroke='#3b6ea5'/>",
            f"<text x='{x:.0f}' y='{y + (20 if rest else 28):.0f}' {style} font-size='15'>{room}</text>",
        ]
        if rest:
            parts.append(f"<text x='{x:.0f}' y='{y + 37:.0f}' {style} font-size='10' fill='#555'>also {rest}</text>")
    return '\n'.join([*parts, '</svg>', ''])


def _place(rows: list[list[str]], arrows: Imports) -> tuple[dict, list]:
    """Centres of the boxes' upper edges, and per arrow the points that it passes.

    An arrow over several layers has a narrow slot in each layer between, so that it crosses no box.
    """
    level = {room: number for number, row in enumerate(rows) for room in row}
    line: list[list] = [list(row) for row in rows]
    links: dict = {}
    chains = []
    for room, others in arrows.items():
        for other in sorted(others):
            between = [(room, other, number) for number in range(level[room] - 1, level[other], -1)]
            for slot in between:
                line[slot[2]].append(slot)
            chain = [room, *between, other]
            chains.append(chain)
            for upper, lower in zip(chain, chain[1:]):
                links.setdefault(upper, []).append(lower)
                links.setdefault(lower, []).append(upper)
    x = _order(line, links)
    top = len(rows) - 1
    centre = {slot: (x[slot], GAP + (top - number) * RISE) for number, row in enumerate(line) for slot in row}
    routes = []
    for chain in chains:
        points = [(centre[chain[0]][0], centre[chain[0]][1] + HEIGHT)]
        for slot in chain[1:-1]:
            points += [centre[slot], (centre[slot][0], centre[slot][1] + HEIGHT)]
        routes.append([*points, centre[chain[-1]]])
    return {slot: place for slot, place in centre.items() if isinstance(slot, str)}, routes


def _order(line: list[list], links: dict) -> dict:
    """Horizontal centres: each slot near the mean of its neighbours, by sweeps down and up."""

    def room_for(slot: object) -> float:
        return WIDTH + GAP if isinstance(slot, str) else GAP

    x = {slot: 200.0 * place for row in line for place, slot in enumerate(row)}
    for _ in range(40):
        for row in [*line, *line[::-1]]:
            wished = {slot: mean(x[other] for other in links.get(slot, [slot])) for slot in row}
            row.sort(key=lambda slot: (wished[slot], str(slot)))
            _spread(row, wished, room_for, x)
    left = min(x[slot] - room_for(slot) / 2 for row in line for slot in row)
    return {slot: place - left + GAP / 2 for slot, place in x.items()}


def _spread(row: list, wished: dict, room_for, x: dict) -> None:
    """Slots of a sorted row at their wished places, none over another; those that touch move as one."""
    groups: list[list] = []
    for slot in row:
        groups.append([slot])
        while len(groups) > 1 and _left(groups[-1], wished, room_for) < _right(groups[-2], wished, room_for):
            last = groups.pop()
            groups[-1] += last
    for group in groups:
        edge = _left(group, wished, room_for)
        for slot in group:
            x[slot] = edge + room_for(slot) / 2
            edge += room_for(slot)


def _left(group: list, wished: dict, room_for) -> float:
    """The left edge at which a group's slots are nearest to their wishes."""
    offset, misses = 0.0, []
    for slot in group:
        misses.append(wished[slot] - room_for(slot) / 2 - offset)
        offset += room_for(slot)
    return mean(misses)


def _right(group: list, wished: dict, room_for) -> float:
    return _left(group, wished, room_for) + sum(room_for(slot) for slot in group)


def _curve(points: list[tuple[float, float]]) -> str:
    """A smooth path through points, upright at each of them."""
    path = f'M{points[0][0]:.0f},{points[0][1]:.0f}'
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        middle = (y0 + y1) / 2
        path += f'C{x0:.0f},{middle:.0f} {x1:.0f},{middle:.0f} {x1:.0f},{y1:.0f}'
    return path


if __name__ == '__main__':
    PICTURE.write_text(draw(room_imports()), encoding='utf-8')
    print(PICTURE)
