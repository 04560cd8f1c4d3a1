"""Solids of the Rooms world, each a unit shape in a frame of its own, and where rays meet them.

World frame: x right, y up, z towards the viewer, in metres. A solid's frame is turned about the
vertical, moved and scaled, so that only unit shapes have to be intersected: an affine map keeps the
ray's parameter t.
"""

from dataclasses import dataclass, field

import numpy as np

from .materials import Material

BOX, BALL, FRUSTUM, SHELL = 'box', 'ball', 'frustum', 'shell'
_CAP = 1e-4  # how near to +-1 a height counts as the cap of a frustum


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products over the last axis; much faster than a sum over three numbers."""
    return np.einsum('...i,...i->...', a, b)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at unit length."""
    return vectors / np.sqrt(dot(vectors, vectors))[..., None]


@dataclass
class Solid:
    """One solid.

    Attributes:
        shape: 'box', 'ball' (ellipsoid), 'frustum' (vertical; cylinder and cone are its extremes),
            or 'shell': a box seen from inside.
        centre: World position of its middle, float32 (3,), metres.
        half: Half its extent along its own axes, float32 (3,), metres.
        yaw: Turn about the vertical, radians, counterclockwise from above.
        material: What it looks like.
        top: Radius at the top of a frustum as a share of that at the bottom, in [0, 1].
    """

    shape: str
    centre: np.ndarray
    half: np.ndarray
    material: Material
    yaw: float = 0.0
    top: float = 1.0
    _axes: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.centre = np.asarray(self.centre, np.float32)
        self.half = np.asarray(self.half, np.float32)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        # rows: the solid's axes in the world
        self._axes = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)

    def to_local(self, vectors: np.ndarray) -> np.ndarray:
        """World vectors (..., 3), not points, in units of the half extents."""
        return (vectors @ self._axes.T) / self.half

    def local_points(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in the unit frame."""
        return self.to_local(points - self.centre)

    def corners(self) -> np.ndarray:
        """World positions of the bounding box's corners, float32 (8, 3)."""
        signs = np.stack(np.meshgrid(*[[-1, 1]] * 3, indexing='ij'), -1).reshape(8, 3)
        return ((signs * self.half) @ self._axes + self.centre).astype(np.float32)

    def intersect(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """First t > 0 at which rays meet the surface.

        Args:
            origin (ndarray): float32 (3,) or (..., 3).
            direction (ndarray): float32 (..., 3), any length.

        Returns:
            ndarray: float32 (...), inf where a ray misses.
        """
        o, d = self.local_points(origin), self.to_local(direction)
        with np.errstate(divide='ignore', invalid='ignore'):
            if self.shape == BALL:
                return _ball(o, d)
            if self.shape == FRUSTUM:
                return _frustum(o, d, self.top)
            return _box(o, d, inside=self.shape == SHELL)

    def normals(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit normals at points of the surface.

        Args:
            points (ndarray): World, float32 (n, 3).

        Returns:
            tuple[ndarray, ndarray]: World normals float32 (n, 3), and the points in the unit frame.
        """
        local = self.local_points(points)
        if self.shape == BALL:
            normal = local / self.half
        elif self.shape == FRUSTUM:
            normal = self._frustum_normals(local)
        else:
            axis = np.abs(local).argmax(axis=-1)
            normal = np.zeros_like(local)
            rows = np.arange(len(local))
            normal[rows, axis] = np.sign(local[rows, axis])
            if self.shape == SHELL:
                normal = -normal
        normal = normal @ self._axes
        return unit(normal), local

    def _frustum_normals(self, local: np.ndarray) -> np.ndarray:
        middle, slope = (1 + self.top) / 2, (1 - self.top) / 2
        radius = middle - slope * local[:, 1]
        normal = np.stack([local[:, 0], slope * radius, local[:, 2]], -1) / self.half
        cap = np.abs(local[:, 1]) > 1 - _CAP
        normal[cap] = np.stack([0 * local[cap, 0], np.sign(local[cap, 1]), 0 * local[cap, 0]], -1)
        return normal


def _box(o: np.ndarray, d: np.ndarray, inside: bool) -> np.ndarray:
    """The slab method for [-1, 1]^3; from inside the exit is what is seen."""
    near, far = (-1 - o) / d, (1 - o) / d
    low, high = np.minimum(near, far), np.maximum(near, far)
    enter = np.maximum(np.maximum(low[..., 0], low[..., 1]), low[..., 2])
    leave = np.minimum(np.minimum(high[..., 0], high[..., 1]), high[..., 2])
    if inside:
        return leave
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _ball(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Entry into the unit ball."""
    a, b, c = dot(d, d), dot(o, d), dot(o, o) - 1
    root = b * b - a * c
    t = (-b - np.sqrt(root)) / a
    return np.where((root > 0) & (t > 0), t, np.inf)


def _frustum(o: np.ndarray, d: np.ndarray, top: float) -> np.ndarray:
    """Entry into x^2 + z^2 <= (middle - slope y)^2, -1 <= y <= 1."""
    middle, slope = (1 + top) / 2, (1 - top) / 2
    radius = middle - slope * o[..., 1]
    a = d[..., 0] ** 2 + d[..., 2] ** 2 - (slope * d[..., 1]) ** 2
    b = o[..., 0] * d[..., 0] + o[..., 2] * d[..., 2] + slope * d[..., 1] * radius
    c = o[..., 0] ** 2 + o[..., 2] ** 2 - radius**2
    root = np.sqrt(b * b - a * c)
    best = np.full(d.shape[:-1], np.inf, np.float32)
    for t in ((-b - root) / a, (-b + root) / a):
        height = o[..., 1] + t * d[..., 1]
        best = np.where((t > 0) & (np.abs(height) <= 1) & (t < best), t, best)
    for cap, limit in ((-1, 1.0), (1, top)):
        t = (cap - o[..., 1]) / d[..., 1]
        x, z = o[..., 0] + t * d[..., 0], o[..., 2] + t * d[..., 2]
        best = np.where((t > 0) & (x * x + z * z <= limit * limit) & (t < best), t, best)
    return best
