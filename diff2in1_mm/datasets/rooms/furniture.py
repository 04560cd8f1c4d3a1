"""What stands in a room: each kind of object as a list of solids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .materials import COLOURS, Material
from .shapes import BALL, BOX, FRUSTUM, Solid

#: Semantic classes, by kind and never by colour.
CLASSES = ('wall', 'floor', 'ceiling', 'window', 'table', 'chair', 'sofa', 'cupboard', 'lamp', 'plant', 'ball', 'block')
#: Classes that are objects and have instances; the first three are surfaces of the room.
THINGS = CLASSES[3:]


@dataclass
class Item:
    """One object.

    Attributes:
        kind: One of :data:`THINGS`.
        colour: Name of its main colour.
        solids: What it is made of, in the world.
        position: Of its middle on the floor plan, (x, z), metres.
        radius: Of the circle that it takes up there, metres.
        height: Of its top above its foot, metres.
    """

    kind: str
    colour: str
    solids: list[Solid]
    position: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.0
    height: float = 0.0


def near_colour(rng: np.random.RandomState, name: str, spread: float = 0.05) -> np.ndarray:
    """A shade of a named colour, sRGB (3,)."""
    base = np.array(COLOURS[name]) * rng.uniform(0.8, 1.15)
    return np.clip(base + rng.uniform(-spread, spread, 3), 0.03, 0.97)


def paint(rng: np.random.RandomState, name: str, patterns: Sequence[str] = ('plain',), **settings) -> Material:
    """A material of a named colour with one of some patterns."""
    colour = near_colour(rng, name)
    pattern = patterns[rng.randint(len(patterns))]
    if pattern in ('stripes', 'checks', 'dots'):
        second = near_colour(rng, rng.choice(list(COLOURS)))
    else:
        second = colour * 0.62
    settings = dict(dict(gloss=rng.uniform(0, 0.25), size=rng.uniform(0.08, 0.25)), **settings)
    return Material(colour, second, pattern, phase=rng.uniform(size=4), **settings)


def _part(shape: str, centre, half, material: Material, top: float = 1.0) -> Solid:
    return Solid(shape, centre, half, material, top=top)


def _legs(width: float, depth: float, height: float, thick: float, material: Material) -> list[Solid]:
    return [
        _part(BOX, (x * (width - thick), height / 2, z * (depth - thick)), (thick, height / 2, thick), material)
        for x in (-1, 1)
        for z in (-1, 1)
    ]


def table(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    wood = paint(rng, colour, ('grain', 'plain'))
    height, thick = rng.uniform(0.45, 0.8), rng.uniform(0.02, 0.04)
    if rng.rand() < 0.35:  # round, on one foot
        radius = rng.uniform(0.35, 0.65)
        return [
            _part(FRUSTUM, (0, height - thick, 0), (radius, thick, radius), wood),
            _part(FRUSTUM, (0, height / 2, 0), (0.05, height / 2, 0.05), wood),
            _part(FRUSTUM, (0, 0.02, 0), (radius / 2, 0.02, radius / 2), wood, 0.6),
        ], height
    width, depth = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.5)
    return [
        _part(BOX, (0, height - thick, 0), (width, thick, depth), wood),
        *_legs(width, depth, height - thick, rng.uniform(0.025, 0.045), wood),
    ], height


def chair(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    frame = paint(rng, colour, ('grain', 'plain'))
    seat = frame if rng.rand() < 0.5 else paint(rng, colour, ('cloth', 'stripes'))
    height, width, back = rng.uniform(0.4, 0.48), rng.uniform(0.2, 0.26), rng.uniform(0.42, 0.6)
    solids = [_part(BOX, (0, height, 0), (width, 0.03, width), seat), *_legs(width, width, height, 0.022, frame)]
    behind = -width + 0.02
    if rng.rand() < 0.5:
        solids.append(_part(BOX, (0, height + back / 2, behind), (width, back / 2, 0.022), seat))
    else:  # two posts and slats
        solids += [
            _part(BOX, (x * (width - 0.02), height + back / 2, behind), (0.022, back / 2, 0.022), frame)
            for x in (-1, 1)
        ]
        solids += [_part(BOX, (0, height + back * share, behind), (width, 0.04, 0.015), seat) for share in (0.45, 0.85)]
    return solids, height + back


def sofa(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    cloth = paint(rng, colour, ('cloth', 'cloth', 'stripes', 'checks'), gloss=0.0)
    width, depth = rng.uniform(0.55, 1.05), rng.uniform(0.38, 0.48)
    seat, back, arm = rng.uniform(0.36, 0.44), rng.uniform(0.7, 0.9), rng.uniform(0.08, 0.13)
    solids = [
        _part(BOX, (0, seat / 2 + 0.03, 0), (width, seat / 2 - 0.03, depth), cloth),
        _part(BOX, (0, back / 2 + 0.03, -depth + 0.1), (width, back / 2 - 0.03, 0.1), cloth),
    ]
    solids += [
        _part(BOX, (x * (width - arm), (seat + 0.2) / 2, 0.02), (arm, (seat + 0.2) / 2 - 0.03, depth), cloth)
        for x in (-1, 1)
    ]
    if rng.rand() < 0.6:
        pillow = paint(rng, rng.choice(list(COLOURS)), ('cloth', 'stripes', 'dots'))
        solids.append(
            _part(BALL, (rng.uniform(-0.5, 0.5) * width, seat + 0.14, -depth + 0.3), (0.2, 0.15, 0.1), pillow)
        )
    return solids, back


def cupboard(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    tall = rng.rand() < 0.5
    height = rng.uniform(1.3, 2.0) if tall else rng.uniform(0.6, 1.0)
    width, depth = rng.uniform(0.35, 0.65), rng.uniform(0.18, 0.3)
    body = paint(rng, colour, ('grain', 'plain'), gloss=rng.uniform(0, 0.3))
    solids = [_part(BOX, (0, height / 2 + 0.02, 0), (width, height / 2, depth), body)]
    front = (0, height / 2 + 0.02, depth)
    if rng.rand() < 0.35:  # open shelves
        books = paint(rng, rng.choice(list(COLOURS)), ('books',))
        books.second = body.colour * 0.35
        solids.append(_part(BOX, front, (width - 0.05, height / 2 - 0.05, 0.008), books))
        return solids, height
    doors = Material(body.colour, body.colour * 0.45, 'doors', size=width, phase=rng.uniform(size=4), gloss=body.gloss)
    solids.append(_part(BOX, front, (width - 0.02, height / 2 - 0.03, 0.012), doors))
    knob = paint(rng, rng.choice(['black', 'white', 'yellow']), gloss=0.5)
    solids += [_part(BALL, (x * 0.09, height * 0.55, depth + 0.03), (0.025,) * 3, knob) for x in (-1, 1)]
    return solids, height


def lamp(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    shade = paint(rng, colour, ('plain', 'plain', 'stripes'), glow=rng.uniform(0.3, 1.0))
    metal = paint(rng, rng.choice(['black', 'white', 'yellow', 'grey']), gloss=0.5)
    height, radius = rng.uniform(1.2, 1.7), rng.uniform(0.16, 0.26)
    return [
        _part(FRUSTUM, (0, 0.02, 0), (0.16, 0.02, 0.16), metal, 0.8),
        _part(FRUSTUM, (0, height / 2, 0), (0.018, height / 2, 0.018), metal),
        _part(FRUSTUM, (0, height, 0), (radius, 0.16, radius), shade, rng.uniform(0.35, 0.8)),
    ], height + 0.16


def plant(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    pot = paint(rng, colour, ('plain', 'stripes', 'plain'))
    height, radius = rng.uniform(0.2, 0.36), rng.uniform(0.13, 0.2)
    leaf = near_colour(rng, rng.choice(['green', 'green', 'teal', 'brown']))
    leaves = Material(leaf, leaf * 0.5, 'cloth', phase=rng.uniform(size=4))
    # the pot widens upwards: a frustum on its head has no name here, so two make a rim
    solids = [
        _part(FRUSTUM, (0, height / 2, 0), (radius, height / 2, radius), pot, 0.85),
        _part(FRUSTUM, (0, height, 0), (radius, 0.03, radius), pot),
    ]
    spread, tall = rng.uniform(0.12, 0.24), rng.uniform(0.35, 0.85)
    for _ in range(rng.randint(5, 9)):
        angle, up = rng.uniform(0, 6.283), rng.uniform(0.15, 1.0)
        size = rng.uniform(0.08, 0.17)
        solids.append(
            _part(
                BALL,
                (spread * np.cos(angle), height + up * tall * 0.8, spread * np.sin(angle)),
                (size, size * rng.uniform(0.7, 1.8), size),
                leaves,
            )
        )
    return solids, height + tall


def ball(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    radius = rng.uniform(0.12, 0.32)
    skin = paint(rng, colour, ('plain', 'plain', 'stripes', 'checks'), gloss=rng.uniform(0.2, 0.8), size=radius * 0.9)
    return [_part(BALL, (0, radius, 0), (radius,) * 3, skin)], 2 * radius


def block(rng: np.random.RandomState, colour: str) -> tuple[list[Solid], float]:
    size = rng.uniform(0.12, 0.3, 3)
    skin = paint(rng, colour, ('plain', 'grain', 'stripes', 'dots'), gloss=rng.uniform(0, 0.4))
    if rng.rand() < 0.5:
        return [_part(BOX, (0, size[1], 0), size, skin)], 2 * size[1]
    top = rng.choice([0.0, 0.0, 1.0, 0.5])  # cones, cylinders and stumps
    return [_part(FRUSTUM, (0, size[1], 0), (size[0], size[1], size[0]), skin, top)], 2 * size[1]


BUILDERS: dict[str, Callable] = dict(
    table=table, chair=chair, sofa=sofa, cupboard=cupboard, lamp=lamp, plant=plant, ball=ball, block=block
)


def build(rng: np.random.RandomState, kind: str) -> Item:
    """An object of a kind at the origin, with its foot on the ground, facing z."""
    colour = str(rng.choice(list(COLOURS)))
    solids, height = BUILDERS[kind](rng, colour)
    reach = max(np.abs(s.corners()[:, [0, 2]]).max() for s in solids)
    return Item(kind, colour, solids, radius=float(reach), height=float(height))


def place(item: Item, x: float, z: float, yaw: float = 0.0, foot: float = 0.0) -> Item:
    """Move an object built at the origin to its place, turned about the vertical."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    item.solids = [
        Solid(
            s.shape,
            s.centre @ turn + np.array([x, foot, z], np.float32),
            s.half,
            s.material,
            yaw=s.yaw + yaw,
            top=s.top,
        )
        for s in item.solids
    ]
    item.position = (float(x), float(z))
    return item
