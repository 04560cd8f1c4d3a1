"""Colours and patterns of surfaces."""

from dataclasses import dataclass, field

import numpy as np

#: Names that captions use, and sRGB values in [0, 1].
COLOURS = dict(
    red=(0.75, 0.13, 0.12),
    orange=(0.87, 0.45, 0.12),
    yellow=(0.88, 0.75, 0.22),
    green=(0.22, 0.52, 0.24),
    teal=(0.13, 0.50, 0.52),
    blue=(0.16, 0.31, 0.68),
    purple=(0.45, 0.24, 0.57),
    pink=(0.87, 0.53, 0.62),
    brown=(0.42, 0.26, 0.15),
    beige=(0.80, 0.70, 0.54),
    white=(0.90, 0.89, 0.86),
    grey=(0.52, 0.53, 0.55),
    black=(0.13, 0.13, 0.14),
)


@dataclass
class Material:
    """What a surface looks like.

    Attributes:
        colour: sRGB in [0, 1], (3,).
        second: Second colour of the pattern, (3,); None: the first.
        pattern: 'plain', 'stripes', 'checks', 'dots', 'planks', 'tiles', 'grain', 'cloth', 'doors'
            or 'books'.
        size: Length of one repetition of the pattern, metres.
        phase: Numbers in [0, 1) that shift it, (4,).
        gloss: Strength of the highlight, in [0, 1].
        glow: Light that the surface gives off itself, as a share of its colour.
    """

    colour: np.ndarray
    second: np.ndarray = None  # type: ignore[assignment]
    pattern: str = 'plain'
    size: float = 0.2
    phase: np.ndarray = field(default_factory=lambda: np.zeros(4))
    gloss: float = 0.0
    glow: float = 0.0

    def __post_init__(self) -> None:
        self.colour = np.asarray(self.colour, np.float32)
        self.second = self.colour if self.second is None else np.asarray(self.second, np.float32)

    def albedo(self, places: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Linear reflectance.

        Args:
            places (ndarray): Points in the solid's own axes, metres, float32 (n, 3).
            normals (ndarray): Normals in the same axes, not necessarily of unit length, (n, 3).

        Returns:
            ndarray: float32 (n, 3) in [0, 1].
        """
        if self.pattern == 'plain':
            mix = np.zeros(len(places), np.float32)
        else:
            mix = PATTERNS[self.pattern](*_unfold(places, normals), self.size, self.phase)
        colour = self.colour + mix[:, None] * (self.second - self.colour)
        return np.clip(colour, 0, 1) ** 2.2


def _unfold(places: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two coordinates (n,) on the surface, by the axis that it faces most."""
    axis = np.abs(normals).argmax(axis=-1)
    u = np.where(axis == 0, places[:, 2], places[:, 0])
    v = np.where(axis == 1, places[:, 2], places[:, 1])
    return u, v


def _wave(u: np.ndarray, v: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """A smooth irregular field in about [-1, 1]: a few sines of unrelated directions."""
    total = np.zeros_like(u)
    for k, (a, b) in enumerate(((1.0, 0.3), (-0.7, 1.1), (0.2, -1.9), (2.3, 1.7))):
        total += np.sin(a * u + b * v + 6.283 * phase[k])
    return total / 2.5


def _cell(index: np.ndarray, phase: float) -> np.ndarray:
    """A number in [0, 1) for each whole number."""
    return np.modf(np.abs(np.sin(index * 12.9898 + phase * 78.233) * 43758.5453))[0]


def _stripes(u, v, size, phase):
    return (np.modf(np.abs(u / size + phase[0] + 100))[0] < 0.35 + 0.3 * phase[1]).astype('f4')


def _checks(u, v, size, phase):
    return ((np.floor(u / size + phase[0]) + np.floor(v / size + phase[1])) % 2).astype('f4')


def _dots(u, v, size, phase):
    x, y = (u / size + phase[0]) % 1 - 0.5, (v / size + phase[1]) % 1 - 0.5
    return (x * x + y * y < 0.06 + 0.05 * phase[2]).astype('f4')


def _planks(u, v, size, phase):
    """Boards along v, of different shades, with dark joints."""
    row = np.floor(u / size + phase[0])
    along = v / (6 * size) + _cell(row, phase[1])
    shade = 0.7 * _cell(row * 7 + np.floor(along), phase[2])
    shade = shade + 0.15 * _wave(60 * u, 5 * v, phase)
    joint = (((u / size + phase[0]) % 1) < 0.06) | ((along % 1) < 0.012)
    return np.where(joint, 1.4, shade).astype('f4')


def _tiles(u, v, size, phase):
    x, y = (u / size + phase[0]) % 1, (v / size + phase[1]) % 1
    shade = 0.25 * _cell(np.floor(u / size + phase[0]) * 31 + np.floor(v / size + phase[1]), phase[2])
    return np.where((x < 0.06) | (y < 0.06), 1.0, shade).astype('f4')


def _grain(u, v, size, phase):
    """Veins of wood along u."""
    return (0.5 + 0.5 * np.sin(40 * v + 2 * _wave(3 * u, 9 * v, phase) + 6.28 * phase[0])) * 0.5


def _cloth(u, v, size, phase):
    return np.clip(0.3 + 0.35 * _wave(70 * u, 70 * v, phase) + 0.2 * _wave(9 * u, 9 * v, phase), 0, 1)


def _doors(u, v, size, phase):
    """Panels with dark gaps between them."""
    x, y = (u / size + 0.5) % 1, (v / (size * (0.6 + phase[0])) + 0.5) % 1
    return ((x < 0.035) | (x > 0.965) | (y < 0.03) | (y > 0.97)).astype('f4')


def _books(u, v, size, phase):
    """Shelves with upright books of different heights."""
    shelf, y = np.floor(v / 0.34 + phase[0]), (v / 0.34 + phase[0]) % 1
    book = np.floor(u / 0.05 + 9 * _cell(shelf, phase[1]))
    height = 0.55 + 0.35 * _cell(book + 57 * shelf, phase[2])
    return np.where(y < 0.08, 0.0, np.where(y < height, _cell(book + 13 * shelf, phase[3]) - 0.2, 1.3)).astype('f4')


PATTERNS = dict(
    stripes=_stripes,
    checks=_checks,
    dots=_dots,
    planks=_planks,
    tiles=_tiles,
    grain=_grain,
    cloth=_cloth,
    doors=_doors,
    books=_books,
)
