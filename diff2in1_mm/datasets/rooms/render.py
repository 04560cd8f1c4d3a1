"""Ray casting of a room: the picture and its exact labels."""

from dataclasses import dataclass

import numpy as np

from ...tasks.consistency import boundaries_of_labels
from ...utils.errors import UserError
from .captions import describe
from .flat import without_shading
from .furniture import CLASSES
from .night import lit_at
from .scene import Camera, Scene, draw_scene
from .shapes import Solid, dot, unit

WALL, FLOOR, CEILING = 0, 1, 2
_SAMPLES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))  # places in a pixel


@dataclass
class Room:
    """A rendered room.

    Attributes:
        image: sRGB, uint8 (H, W, 3).
        classes: Index into :data:`CLASSES`, uint8 (H, W).
        depth: Distance along the optical axis, metres, float32 (H, W).
        normals: Unit vectors in the camera's frame (x right, y up, z towards the viewer), float32
            (H, W, 3).
        instances: Number of the object from 1 on, 0 for walls, floor and ceiling; int32 (H, W).
        kinds: Class index of each object that is seen, by its number.
        caption: What is in the picture.
    """

    image: np.ndarray
    classes: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    instances: np.ndarray
    kinds: dict
    caption: str

    @property
    def boundaries(self) -> np.ndarray:
        """Pixels on either side of an edge between objects or classes, bool (H, W)."""
        return boundaries_of_labels(self.classes) | boundaries_of_labels(self.instances)


def render_room(seed: int, size: tuple[int, int] = (128, 128), hour: str = 'day', shading: str = 'full') -> Room:
    """The picture of a seed with all its labels.

    Labels are those of the pixel's middle; the picture averages four rays per pixel.

    Args:
        seed (int): In [0, 2**32).
        size (tuple[int, int]): Height and width in pixels, each at least 16.
        hour (str): 'day' or 'night': the same room and labels in another light (:func:`at_night`); the caption says so.
            Default 'day'.
        shading (str): 'full', or 'flat': as a cheap simulator draws it (:func:`without_shading`). Default 'full'.

    Raises:
        ValueError: A size too small to show anything.
    """
    if min(size) < 16:
        raise UserError(f'a room of {size[0]}x{size[1]} pixels shows nothing: give at least 16x16')
    scene = lit_at(hour, draw_scene(seed), seed)
    if shading == 'flat':
        scene = without_shading(scene)
    solids, owners = _parts(scene)
    depth, part = cast(solids, scene.camera, size)
    points = scene.camera.position + depth[..., None] * scene.camera.rays(*size, (0.5, 0.5))
    normals, classes = np.empty((*size, 3), np.float32), np.empty(size, np.uint8)
    for index in np.unique(part):
        here = part == index
        world, _ = solids[index].normals(points[here])
        normals[here] = world @ scene.camera.axes.T
        if index == 0:
            classes[here] = _surface(world)
        else:
            classes[here] = CLASSES.index(scene.items[owners[index] - 1].kind)
    instances = owners[part]
    kinds = {int(i): CLASSES.index(scene.items[i - 1].kind) for i in np.unique(instances) if i}
    caption = describe(scene, instances) + (' at night' if hour == 'night' else '')
    return Room(photograph(scene, size, seed), classes, depth, normals, instances, kinds, caption)


def photograph(scene: Scene, size: tuple[int, int], seed: int) -> np.ndarray:
    """The picture alone.

    Args:
        scene (Scene): What is seen.
        size (tuple[int, int]): Height and width, pixels.
        seed (int): Of the camera's noise and the soft shadows.

    Returns:
        ndarray: sRGB, uint8 (H, W, 3).
    """
    rng = np.random.RandomState((seed + 77003) % 2**32)
    solids, _ = _parts(scene)
    light = np.zeros((*size, 3), np.float32)
    for place in _SAMPLES:
        rays = scene.camera.rays(*size, place)
        depth, part = cast(solids, scene.camera, size, place)
        points = scene.camera.position + depth[..., None] * rays
        light += shade(scene, solids, part, points, rng)
    light /= len(_SAMPLES)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    light *= (1 - 0.1 * (x * x + y * y))[..., None]  # the lens lets less through at its edge
    light = np.clip(light, 0, None)
    image = (light / (1 + 0.25 * light) * 1.1).clip(0, 1) ** (1 / 2.2)
    image = image + scene.noise * rng.randn(*image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _parts(scene: Scene) -> tuple[list[Solid], np.ndarray]:
    """All solids, the shell first, and the number of the object that each belongs to."""
    solids, owners = [scene.shell], [0]
    for number, item in enumerate(scene.items, 1):
        solids += item.solids
        owners += [number] * len(item.solids)
    return solids, np.array(owners, np.int32)


def cast(
    solids: list[Solid], camera: Camera, size: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)
) -> tuple[np.ndarray, np.ndarray]:
    """What each ray of the camera meets first.

    Returns:
        tuple[ndarray, ndarray]: Depth in metres float32 (H, W), and the index of the solid int64
        (H, W).
    """
    rays = camera.rays(*size, place)
    depth = np.full(size, np.inf, np.float32)
    part = np.zeros(size, np.int64)
    for index, solid in enumerate(solids):
        window = _window(solid, camera, size) if index else (slice(None), slice(None))
        t = solid.intersect(camera.position, rays[window])
        nearer = t < depth[window]
        depth[window][nearer] = t[nearer]
        part[window][nearer] = index
    return depth, part


def _window(solid: Solid, camera: Camera, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns in which a solid can be seen."""
    corners = (solid.corners() - camera.position) @ camera.axes.T
    depth = -corners[:, 2]
    if (depth > 0.05).sum() == 0:
        return slice(0, 0), slice(0, 0)
    if depth.min() < 0.05:
        return slice(None), slice(None)
    scale = camera.focal * max(size)
    columns = corners[:, 0] / depth * scale + size[1] / 2
    rows = size[0] / 2 - corners[:, 1] / depth * scale
    return (
        slice(max(int(rows.min()) - 1, 0), max(int(rows.max()) + 2, 0)),
        slice(max(int(columns.min()) - 1, 0), max(int(columns.max()) + 2, 0)),
    )


def _surface(normals: np.ndarray) -> np.ndarray:
    """Wall, floor or ceiling by the direction (n, 3) that the shell faces."""
    return np.where(normals[:, 1] > 0.5, FLOOR, np.where(normals[:, 1] < -0.5, CEILING, WALL))


def shade(
    scene: Scene, solids: list[Solid], part: np.ndarray, points: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Light that the points send to the camera: ambient, lamp with shadow, highlight, glow.

    Args:
        scene (Scene): Materials and lights.
        solids (list[Solid]): The shell first.
        part (ndarray): Index of the solid at each pixel, (H, W).
        points (ndarray): World positions, float32 (H, W, 3).
        rng (RandomState): Draws the point of the lamp that is looked at.

    Returns:
        ndarray: Linear, float32 (H, W, 3).
    """
    albedo = np.empty(points.shape, np.float32)
    normals = np.empty(points.shape, np.float32)
    gloss, glow = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
    for index in np.unique(part):
        here, solid = part == index, solids[index]
        normals[here], local = solid.normals(points[here])
        if index:
            facing = normals[here] @ solid._axes.T
            albedo[here] = solid.material.albedo(local * solid.half, facing)
            gloss[here], glow[here] = solid.material.gloss, solid.material.glow
        else:
            albedo[here], gloss[here] = _shell_albedo(scene, points[here], normals[here])
    lamp = scene.light + rng.uniform(-0.13, 0.13, 3).astype(np.float32)
    towards = lamp - points
    distance = np.sqrt(dot(towards, towards))
    towards /= distance[..., None]
    cosine = np.clip(dot(normals, towards), 0, None)
    lit = cosine > 0
    lit[lit] = ~shadowed(solids, points[lit] + 0.004 * normals[lit], lamp)
    direct = np.where(lit, cosine * 4 / (1.5 + distance * distance), 0)
    half = unit(unit(scene.camera.position - points) + towards)
    shine = np.where(lit, gloss * np.clip(dot(normals, half), 0, None) ** 40, 0)
    ambient = _openness(scene, points, normals) * (0.8 + 0.2 * normals[..., 1])
    return (
        albedo * (direct[..., None] * scene.light_colour + ambient[..., None] * scene.ambient + glow[..., None])
        + 0.5 * shine[..., None] * scene.light_colour
    )


def shadowed(solids: list[Solid], points: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """Whether anything stands between points (n, 3) and the lamp (3,): bool (n,)."""
    blocked = np.zeros(len(points), bool)
    rays = lamp - points
    length, along, square = dot(rays, rays), dot(points, rays), dot(points, points)
    for solid in solids[1:]:
        # first the ball around the solid: few points are in its shadow
        centre = solid.centre
        reach = rays @ centre - along
        share = np.clip(reach / length, 0, 1)
        gap = square - 2 * (points @ centre) + centre @ centre - share * (2 * reach - share * length)
        near = np.flatnonzero((gap < solid.half @ solid.half) & ~blocked)
        if len(near):
            blocked[near] = solid.intersect(points[near], rays[near]) < 1
    return blocked


def _shell_albedo(scene: Scene, points: np.ndarray, normals: np.ndarray):
    """Reflectance (n, 3) and gloss (n,) of walls with skirting, floor with rug, and ceiling."""
    albedo, gloss = np.empty(points.shape, np.float32), np.zeros(len(points), np.float32)
    surface = _surface(normals)
    for index, material in ((WALL, scene.wall), (FLOOR, scene.floor), (CEILING, scene.ceiling)):
        here = surface == index
        albedo[here], gloss[here] = material.albedo(points[here], normals[here]), material.gloss
    skirting = (surface == WALL) & (points[:, 1] < 0.09)
    albedo[skirting] = 0.65
    if scene.rug is not None:
        material, (x, z, width, depth) = scene.rug
        on = (surface == FLOOR) & (np.abs(points[:, 0] - x) < width) & (np.abs(points[:, 2] - z) < depth)
        albedo[on], gloss[on] = material.albedo(points[on], normals[on]), 0
    return albedo, gloss


def _openness(scene: Scene, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """How much ambient light reaches points (H, W, 3): corners of the room are darker."""
    size = 2 * scene.shell.half
    gap = np.minimum(points, size - points).clip(0, None)
    # the surface that a point lies on does not darken it
    dark = 1 - 0.45 * np.exp(-(gap + 9 * np.abs(normals)) / 0.25)
    return dark[..., 0] * dark[..., 1] * dark[..., 2]
