"""Things of other labelled images, pasted with their labels (Simple Copy-Paste, Ghiasi et al., CVPR 2021)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..utils.errors import UserError, did_you_mean
from ..utils.values import check_whole, is_number, is_whole

__all__ = ['DONORS', 'Composer', 'CutOut', 'Placed', 'cut_outs', 'paste', 'paste_all']

#: Images among whose things those of a composition are chosen: the more, the more evenly classes come.
DONORS = 4


class CutOut(NamedTuple):
    """A thing of a labelled image.

    Attributes:
        label: Class index.
        image: (h, w, 3), in the channel order and dtype of its image.
        mask: bool (h, w), where the thing is.
        corner: (top, left) in its image.
        outlined: Whether the mask is its outline; else it is its whole box.
    """

    label: int
    image: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int]
    outlined: bool = True


#: A thing and where its corner (top, left) goes.
Placed = tuple[CutOut, tuple[int, int]]


def cut_outs(image: np.ndarray, labels: np.ndarray, classes: Sequence[int], min_area: int = 16) -> list[CutOut]:
    """The connected regions of some classes that lie wholly inside an image.

    Args:
        image (ndarray): (H, W, 3).
        labels (ndarray): Class indices (H, W).
        classes (Sequence[int]): Of things.
        min_area (int): Pixels; smaller ones are left out. Default 16.

    Returns:
        list[CutOut]: Copies, by class and place.
    """
    height, width = labels.shape
    found = []
    for label in classes:
        shown = (labels == label).astype(np.uint8)
        x, y, width_of_all, height_of_all = cv2.boundingRect(shown)
        if not width_of_all:
            continue
        shown = shown[y : y + height_of_all, x : x + width_of_all]  # to look for regions takes longest
        _, regions, boxes, _ = cv2.connectedComponentsWithStats(shown, connectivity=8)
        for number, (left, top, w, h, area) in enumerate(boxes[1:], 1):
            own = regions[top : top + h, left : left + w] == number
            left, top = left + x, top + y
            # what the border cuts would stand in the middle of another image as a half
            inside = left > 0 and top > 0 and left + w < width and top + h < height
            if area >= min_area and inside:
                part = slice(top, top + h), slice(left, left + w)
                found.append(CutOut(label, image[part].copy(), own, (int(top), int(left))))
    return found


def paste(image: np.ndarray, labels: np.ndarray, thing: CutOut, corner: tuple[int, int]) -> None:
    """Lay a thing over an image and its label map, in place; what leaves the image is cut off.

    Args:
        image (ndarray): (H, W, 3).
        labels (ndarray): (H, W).
        thing (CutOut): What.
        corner (tuple[int, int]): (top, left), where; may be negative.
    """
    (top, left), (height, width) = corner, labels.shape
    h, w = thing.mask.shape
    rows, columns = slice(max(-top, 0), max(height - top, 0)), slice(max(-left, 0), max(width - left, 0))
    mask = thing.mask[rows, columns]
    place = slice(max(top, 0), max(top + h, 0)), slice(max(left, 0), max(left + w, 0))
    image[place][mask] = thing.image[rows, columns][mask]
    labels[place][mask] = thing.label


def paste_all(image: np.ndarray, placed: Sequence[Placed]) -> np.ndarray:
    """Lay things over an image, in place, each over those before it.

    Args:
        image (ndarray): (H, W, 3).
        placed (Sequence): At most 255 things, the farthest first.

    Returns:
        ndarray: uint8 (H, W), the number of the thing that is seen at each pixel, from 1; 0: none.
    """
    numbers = np.zeros(image.shape[:2], np.uint8)
    for number, (thing, corner) in enumerate(placed, 1):
        paste(image, numbers, thing._replace(label=number), corner)
    return numbers


class Composer:
    """Pastes things where they stood in their own images, give or take, in the order of their feet.

    Each thing is of a class drawn evenly from those that the donors show, so that rare ones come more often than
    images show them.

    Args:
        classes (Sequence[str]): Names of the things.
        count (tuple[int, int]): Least and most things in an image. Default (1, 4).
        scale (tuple[float, float]): Least and most by which a thing is resized. Default (0.8, 1.25).
        shift (float): By how much of the image's sides a thing is moved at most. Default 0.1.
        min_area (int): Smaller regions of a label map, in pixels, are no things. Default 16.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        classes: Sequence[str],
        count: tuple[int, int] = (1, 4),
        scale: tuple[float, float] = (0.8, 1.25),
        shift: float = 0.1,
        min_area: int = 16,
    ) -> None:
        if isinstance(classes, str) or not classes:
            raise UserError(f'classes = {classes!r} of things to paste must be a list of class names')
        if len(count) != 2 or not all(is_whole(n, 0) for n in count) or not count[0] <= count[1] < 256:
            raise UserError(f'count = {count!r} must be the least and the most things, whole numbers below 256')
        if len(scale) != 2 or not all(is_number(s, 0.01, 100) for s in scale) or scale[0] > scale[1]:
            raise UserError(f'scale = {scale!r} of things must be the least and the most factor')
        if not is_number(shift, 0, 1):
            raise UserError(f'shift = {shift!r} must be a number from 0 to 1')
        check_whole('min_area', min_area)
        self.classes, self.count, self.shift, self.min_area = list(classes), tuple(count), shift, min_area
        self.least, self.most = scale
        self.indices: list[int] = []

    def know(self, names: Sequence[str] | None) -> None:
        """Look up the classes of a data set; :attr:`indices` are theirs.

        Raises:
            ValueError: A name is none of them.
        """
        names = list(names or ())
        for name in self.classes:
            if name not in names:
                raise UserError(
                    f'{name!r} of the things to paste is no class of the data set' + did_you_mean(name, names)
                )
        self.indices = [names.index(name) for name in self.classes]

    def compose(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        donors: Iterable[tuple[np.ndarray, np.ndarray]],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """An image and its label map with things of others.

        Args:
            image (ndarray): (H, W, 3); not changed.
            labels (ndarray): Class indices (H, W); not changed.
            donors (Iterable): Images of any size and their label maps.
            rng (Generator): Decides everything.

        Returns:
            tuple[ndarray, ndarray]: Copies, pasted into where donors have things.
        """
        image, labels = image.copy(), labels.copy()
        cuts = (cut_outs(*donor, self.indices, self.min_area) for donor in donors)
        for thing, corner in self.placed(cuts, labels.shape, rng):
            paste(image, labels, thing, corner)
        return image, labels

    def placed(
        self, cuts: Iterable[Sequence[CutOut]], shape: tuple[int, int], rng: np.random.Generator
    ) -> list[Placed]:
        """Some of the donors' things and where they go, the farthest first.

        Args:
            cuts (Iterable[Sequence[CutOut]]): The things of each donor.
            shape (tuple[int, int]): Height and width of the image that they are for.
            rng (Generator): Decides everything.
        """
        by_class: dict[int, list[CutOut]] = {}
        for things in cuts:
            for thing in things:
                by_class.setdefault(thing.label, []).append(thing)
        placed = []
        for _ in range(rng.integers(self.count[0], self.count[1] + 1) if by_class else 0):
            of_one = by_class[sorted(by_class)[rng.integers(len(by_class))]]
            placed.append(self._place(of_one[rng.integers(len(of_one))], shape, rng))
        # what stands lower in the picture is nearer, and covers what is behind it
        return sorted(placed, key=lambda pair: pair[1][0] + pair[0].mask.shape[0])

    def _place(self, thing: CutOut, shape: tuple[int, int], rng: np.random.Generator) -> Placed:
        """The thing resized and perhaps mirrored, and where its corner goes: its foot stays about where it was."""
        h, w = thing.mask.shape
        factor = rng.uniform(self.least, self.most)
        size = max(round(w * factor), 1), max(round(h * factor), 1)
        image = cv2.resize(thing.image, size, interpolation=cv2.INTER_LINEAR)
        mask = cv2.resize(thing.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        move = rng.uniform(-self.shift, self.shift, 2) * shape
        foot, middle = thing.corner[0] + h + move[0], thing.corner[1] + w / 2 + move[1]
        return thing._replace(image=image, mask=mask), (round(foot - size[1]), round(middle - size[0] / 2))
