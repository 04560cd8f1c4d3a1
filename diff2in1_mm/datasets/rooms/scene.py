"""A room to look at, drawn from a seed: shell, furniture, light and camera."""

from dataclasses import dataclass

import numpy as np

from .furniture import Item, build, near_colour, paint, place
from .materials import Material
from .shapes import BOX, SHELL, Solid


@dataclass
class Camera:
    """A pinhole camera.

    Attributes:
        position: World, float32 (3,), metres.
        axes: Rows: its right, up and backward directions in the world, float32 (3, 3).
        focal: Focal length as a share of the picture's longer side.
    """

    position: np.ndarray
    axes: np.ndarray
    focal: float

    def rays(self, height: int, width: int, offset: tuple[float, float]) -> np.ndarray:
        """Directions through the pixels; their t is the depth in metres.

        Args:
            height (int): Of the picture, pixels.
            width (int): Of the picture, pixels.
            offset (tuple[float, float]): Place in a pixel, (x, y) in [0, 1]; the middle is 0.5.

        Returns:
            ndarray: float32 (height, width, 3), world.
        """
        scale = self.focal * max(height, width)
        x = (np.arange(width, dtype=np.float32) + offset[0] - width / 2) / scale
        y = (height / 2 - np.arange(height, dtype=np.float32) - offset[1]) / scale
        plane = np.empty((height, width, 3), np.float32)
        plane[..., 0], plane[..., 1], plane[..., 2] = x, y[:, None], -1
        return plane @ self.axes


@dataclass
class Scene:
    """Everything that a picture is made of.

    Attributes:
        shell: The room, seen from inside.
        wall, floor, ceiling: Materials of its surfaces.
        rug: A material and (x, z, half width, half depth) on the floor, or None.
        items: Objects.
        camera: Where it is seen from.
        light: World position of the lamp under the ceiling, float32 (3,), metres.
        light_colour: Its strength per channel, (3,), where 1 lights a white wall fully at 2 m.
        ambient: Light from everywhere, (3,).
        noise: Deviation of the camera's, of sRGB in [0, 1].
    """

    shell: Solid
    wall: Material
    floor: Material
    ceiling: Material
    rug: tuple[Material, tuple[float, float, float, float]] | None
    items: list[Item]
    camera: Camera
    light: np.ndarray
    light_colour: np.ndarray
    ambient: np.ndarray
    floor_name: str = ''
    wall_name: str = ''
    noise: float = 0.012


def draw_scene(seed: int) -> Scene:
    """The scene of a seed.

    Args:
        seed (int): In [0, 2**32). RandomState's stream is frozen by numpy, so a seed means the same
            room with every version.
    """
    rng = np.random.RandomState(seed)
    size = np.array([rng.uniform(3.2, 5.5), rng.uniform(2.3, 2.9), rng.uniform(3.6, 6.0)])
    material = Material(np.full(3, 0.5))
    shell = Solid(SHELL, size / 2, size / 2, material)
    wall, wall_name = _wall(rng)
    floor, floor_name = _floor(rng)
    ceiling = paint(rng, 'white', gloss=0.0)
    items = _furnish(rng, size)
    items += _windows(rng, size)
    camera = _camera(rng, size)
    warm = rng.uniform(-0.12, 0.12)
    light = np.array([size[0] * rng.uniform(0.25, 0.75), size[1] - 0.25, size[2] * rng.uniform(0.3, 0.8)], np.float32)
    strength = rng.uniform(1.5, 2.8)
    colour = strength * np.array([1 + warm, 1.0, 1 - warm])
    ambient = rng.uniform(0.22, 0.42) * np.array([1 - warm / 2, 1.0, 1 + warm / 2])
    return Scene(
        shell,
        wall,
        floor,
        ceiling,
        _rug(rng, size),
        items,
        camera,
        light,
        colour.astype(np.float32),
        ambient.astype(np.float32),
        floor_name,
        wall_name,
    )


def _wall(rng) -> tuple[Material, str]:
    name = str(rng.choice(['white', 'beige', 'blue', 'green', 'yellow', 'pink', 'grey', 'teal', 'orange']))
    colour = 0.55 * near_colour(rng, name) + 0.45 * near_colour(rng, 'white')
    second = colour * rng.uniform(0.75, 0.93)
    pattern = rng.choice(['plain', 'plain', 'plain', 'stripes', 'dots', 'tiles'])
    return Material(colour, second, pattern, size=rng.uniform(0.18, 0.45), phase=rng.uniform(size=4)), name


def _floor(rng) -> tuple[Material, str]:
    kind = rng.choice(['wooden', 'wooden', 'tiled', 'carpeted'])
    if kind == 'wooden':
        colour = near_colour(rng, rng.choice(['brown', 'beige', 'orange'])) * rng.uniform(0.8, 1.1)
        return Material(
            colour,
            colour * 0.6,
            'planks',
            size=rng.uniform(0.1, 0.2),
            phase=rng.uniform(size=4),
            gloss=rng.uniform(0, 0.3),
        ), kind
    if kind == 'tiled':
        colour = near_colour(rng, rng.choice(['white', 'grey', 'beige', 'teal']))
        pattern = rng.choice(['tiles', 'checks'])
        return Material(
            colour,
            colour * rng.uniform(0.35, 0.7),
            pattern,
            size=rng.uniform(0.25, 0.5),
            phase=rng.uniform(size=4),
            gloss=rng.uniform(0.1, 0.5),
        ), kind
    colour = near_colour(rng, rng.choice(['grey', 'blue', 'green', 'red', 'beige', 'purple']))
    return Material(colour, colour * 0.6, 'cloth', phase=rng.uniform(size=4)), kind


def _rug(rng, size):
    if rng.rand() < 0.55:
        return None
    half = rng.uniform(0.5, 1.1, 2)
    centre = size[[0, 2]] * rng.uniform(0.35, 0.65, 2)
    name = rng.choice(['red', 'blue', 'green', 'beige', 'purple', 'orange', 'grey'])
    material = paint(rng, name, ('stripes', 'checks', 'cloth', 'dots'), gloss=0.0)
    return material, (centre[0], centre[1], half[0], half[1])


def _camera(rng, size) -> Camera:
    """Near the front wall, looking into the room and a little down."""
    position = np.array([size[0] * rng.uniform(0.2, 0.8), rng.uniform(1.05, 1.9), size[2] - rng.uniform(0.15, 0.7)])
    target = np.array([size[0] * rng.uniform(0.25, 0.75), rng.uniform(0.3, 1.1), size[2] * rng.uniform(0.0, 0.35)])
    back = position - target
    back /= np.linalg.norm(back)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back]).astype(np.float32)
    return Camera(position.astype(np.float32), axes, rng.uniform(0.7, 1.1))


def _furnish(rng, size) -> list[Item]:
    items: list[Item] = []
    for kind in (
        'sofa',
        'cupboard',
        'cupboard',
        'table',
        'plant',
        'lamp',
        'chair',
        'chair',
        'ball',
        'ball',
        'block',
        'block',
    ):
        if rng.rand() > dict(sofa=0.5, table=0.65, ball=0.5, chair=0.55).get(kind, 0.42):
            continue
        item = build(rng, kind)
        for _ in range(12):
            x, z, yaw = _spot(rng, kind, item, items, size)
            if _free(items, x, z, item.radius, size):
                items.append(place(item, x, z, yaw))
                break
    return items + _clutter(rng, items)


def _spot(rng, kind: str, item: Item, items: list[Item], size):
    """A place (x, z) and a direction for an object: against a wall, in a corner, or anywhere."""
    if kind in ('sofa', 'cupboard'):
        depth = np.abs(np.concatenate([s.corners() for s in item.solids])[:, 2]).max() + 0.02
        wall = rng.randint(4)
        if wall < 2:
            return rng.uniform(0.1, 0.9) * size[0], depth, 0.0
        z = rng.uniform(0.1, 0.7) * size[2]
        return (depth, z, np.pi / 2) if wall == 2 else (size[0] - depth, z, -np.pi / 2)
    tables = [other for other in items if other.kind == 'table']
    if kind == 'chair' and tables and rng.rand() < 0.7:
        angle, reach = rng.uniform(0, 6.283), tables[0].radius + item.radius
        x = tables[0].position[0] + reach * np.sin(angle)
        z = tables[0].position[1] + reach * np.cos(angle)
        return x, z, angle + np.pi + rng.uniform(-0.3, 0.3)
    yaw = rng.uniform(0, 6.283) if kind != 'table' else rng.choice([0, np.pi / 2]) + rng.randn() / 9
    return rng.uniform(0.08, 0.92) * size[0], rng.uniform(0.05, 0.75) * size[2], yaw


def _free(items: list[Item], x: float, z: float, radius: float, size) -> bool:
    margin = min(radius, 0.3)
    if not (margin < x < size[0] - margin and margin < z < size[2] * 0.8):
        return False
    return all(np.hypot(x - o.position[0], z - o.position[1]) > 0.85 * (radius + o.radius) for o in items)


def _clutter(rng, items: list[Item]) -> list[Item]:
    """Small things on tables and low cupboards."""
    small = []
    for carrier in items:
        if carrier.kind not in ('table', 'cupboard') or carrier.height > 1.1:
            continue
        for _ in range(rng.randint(3)):
            kind = str(rng.choice(['block', 'block', 'ball', 'plant']))
            item = build(rng, kind)
            shrink = rng.uniform(0.4, 0.6)
            item.solids = [
                Solid(s.shape, s.centre * shrink, s.half * shrink, s.material, top=s.top) for s in item.solids
            ]
            item.radius, item.height = item.radius * shrink, item.height * shrink
            reach = rng.uniform(0, 0.35) * carrier.radius
            angle = rng.uniform(0, 6.283)
            x = carrier.position[0] + reach * np.sin(angle)
            z = carrier.position[1] + reach * np.cos(angle)
            small.append(place(item, x, z, rng.uniform(0, 6.283), foot=carrier.height + 0.003))
    return small


def _box(x: float, y: float, z: float, half: tuple[float, float, float], material: Material) -> Solid:
    return Solid(BOX, np.array([x, y, z]), np.array(half), material)


def _windows(rng, size) -> list[Item]:
    """Panes with a frame and bars, set into the back wall or a side wall."""
    items = []
    for wall in ('back', 'left', 'right'):
        if rng.rand() > 0.4:
            continue
        width, height = rng.uniform(0.35, 0.7), rng.uniform(0.35, 0.6)
        along = rng.uniform(0.25, 0.75) * size[0 if wall == 'back' else 2]
        up = rng.uniform(1.3, 1.6)
        sky = np.array([0.72, 0.84, 0.96]) * rng.uniform(0.75, 1.05)
        pane = Material(np.clip(sky, 0, 1), glow=rng.uniform(0.5, 1.1), gloss=0.3)
        name = str(rng.choice(['white', 'white', 'brown', 'grey', 'black']))
        frame = Material(near_colour(rng, name))
        solids = [_box(0, up, 0, (width, height, 0.02), pane)]
        solids += [_box(0, up + s * height, 0, (width + 0.05, 0.05, 0.05), frame) for s in (-1, 1)]
        solids += [_box(s * width, up, 0, (0.05, height, 0.05), frame) for s in (-1, 1)]
        solids += [_box(0, up, 0.01, (0.02, height, 0.02), frame), _box(0, up, 0.01, (width, 0.02, 0.02), frame)]
        item = Item('window', name, solids)
        x, z, yaw = dict(back=(along, 0.0, 0.0), left=(0.0, along, np.pi / 2), right=(size[0], along, -np.pi / 2))[wall]
        items.append(place(item, x, z, yaw))
    return items
