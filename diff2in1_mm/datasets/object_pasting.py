"""Objects of other labelled images, pasted with their boxes or masks."""

from collections.abc import Sequence

import numpy as np

from ..tasks.source_instances import Instances
from .pasting import CutOut, Placed

__all__ = ['cut_objects', 'with_objects']

_FOREIGN = 0.1  # share of a box that another one may cover


def cut_objects(image: np.ndarray, found: Instances, classes: Sequence[int], min_area: int = 16) -> list[CutOut]:
    """The objects of some classes that lie wholly inside an image.

    With masks they are cut along these; without, their boxes are, but for boxes of which others cover more than a
    tenth: these would come along without a label.

    Args:
        image (ndarray): (H, W, 3).
        found (Instances): Its objects; those to be ignored are left out.
        classes (Sequence[int]): Of the objects.
        min_area (int): Pixels; smaller ones are left out. Default 16.

    Returns:
        list[CutOut]: Copies.
    """
    height, width = image.shape[:2]
    cut = []
    for i in np.flatnonzero(np.isin(found.labels, classes) & ~found.ignored):
        left, top, right, bottom = _pixels(found.bboxes[i], image.shape)
        part = slice(top, bottom), slice(left, right)
        mask = np.ones((bottom - top, right - left), bool) if found.masks is None else found.masks[i][part].copy()
        inside = left > 0 and top > 0 and right < width and bottom < height
        if inside and mask.sum() >= min_area and (found.masks is not None or not _covered(found.bboxes, int(i))):
            label, corner = int(found.labels[i]), (top, left)
            cut.append(CutOut(label, image[part].copy(), mask, corner, outlined=found.masks is not None))
    return cut


def with_objects(found: Instances, placed: Sequence[Placed], numbers: np.ndarray, hidden: float = 0.8) -> Instances:
    """An image's objects and those that were pasted over it, as far as they are seen.

    A box that is covered in part shrinks to what is left of its object (of its whole area where there are no masks).
    What is to be ignored stays as it is.

    Args:
        found (Instances): Of the image before.
        placed (Sequence): The things, as :func:`paste_all` took them.
        numbers (ndarray): What it gave, (H, W).
        hidden (float): An object is left out of which more than this share is covered, or beyond the image.
            Default 0.8.

    Returns:
        Instances: With masks where the image's objects have them, or, of an image without objects, all things do.
    """
    outlined = found.masks is not None or (not len(found.labels) and all(thing.outlined for thing, _ in placed))
    kept: list[tuple[np.ndarray, int, float, bool, np.ndarray]] = []
    for i, box in enumerate(found.bboxes):
        left, top, right, bottom = _pixels(box, numbers.shape)
        part = slice(top, bottom), slice(left, right)
        whole = np.zeros(numbers.shape, bool)
        if found.masks is None:
            whole[part] = True
        else:
            whole = found.masks[i]
        seen = whole & (numbers == 0)
        if found.ignored[i] or seen.sum() == whole.sum():
            kept.append((box, int(found.labels[i]), float(found.scores[i]), bool(found.ignored[i]), whole))
        elif seen.sum() >= (1 - hidden) * whole.sum() and seen.any():
            kept.append((_box_around(seen, box), int(found.labels[i]), float(found.scores[i]), False, seen))
    for number, (thing, _) in enumerate(placed, 1):
        seen = numbers == number
        if seen.any() and seen.sum() >= (1 - hidden) * thing.mask.sum():
            kept.append((_box_around(seen), thing.label, 1.0, False, seen))
    boxes, labels, scores, ignored, masks = zip(*kept) if kept else ((), (), (), (), ())
    return Instances(
        np.array(boxes, float).reshape(-1, 4),
        np.array(labels, int),
        np.array(scores, float),
        np.array(ignored, bool),
        np.stack(masks) if outlined and kept else None,
    )


def _pixels(box: np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 as whole pixels inside an image of shape (H, W, ...)."""
    height, width = shape[:2]
    left, top, right, bottom = np.round(box).astype(int)
    left, top = min(max(left, 0), width), min(max(top, 0), height)
    return left, top, min(max(right, left), width), min(max(bottom, top), height)


def _covered(boxes: np.ndarray, i: int) -> bool:
    """Whether others cover more than a tenth of a box."""
    left_top, right_bottom = np.maximum(boxes[:, :2], boxes[i, :2]), np.minimum(boxes[:, 2:], boxes[i, 2:])
    common = (right_bottom - left_top).clip(0).prod(1)
    common[i] = 0
    return bool(common.max() > _FOREIGN * (boxes[i, 2:] - boxes[i, :2]).prod())


def _box_around(seen: np.ndarray, within: np.ndarray | None = None) -> np.ndarray:
    """x1 y1 x2 y2 of the True pixels, no larger than ``within``."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    if within is None:
        return box
    return np.concatenate([np.maximum(box[:2], within[:2]), np.minimum(box[2:], within[2:])])
