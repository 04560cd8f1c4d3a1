"""Entries of other tools' files: what is malformed in one is told in a sentence that names it."""

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..utils.errors import UserError

__all__ = ['as_number', 'as_numbers', 'class_index', 'mask_of_outline', 'mask_of_runs', 'shown', 'size_said']


def class_index(name: Any, classes: tuple[str, ...], where: str) -> int:
    """The place of a name among the store's classes.

    Args:
        name: As the file has it.
        classes (tuple[str, ...]): Of the store.
        where (str): File and entry.

    Raises:
        UserError: It is none of them.
    """
    if name not in classes:
        raise UserError(f'{where} names the class {name!r}, and the store has {", ".join(classes)}: rename it there')
    return classes.index(name)


def shown(value: Any) -> str:
    """A value of a file as part of a sentence, cut where it is long."""
    return 'nothing' if value is None else reprlib.repr(value)


def as_number(value: Any, where: str, what: str, whole: bool = False) -> float:
    """A finite number.

    Args:
        value: As the file has it; None where it has nothing.
        where (str): File and entry.
        what (str): The value's name there.
        whole (bool): Whether it must be an integer.

    Raises:
        UserError: It is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or (whole and not found.is_integer()):
        kind = 'whole' if whole else 'finite'
        raise UserError(f'{where} has {shown(value)} as {what}, where a {kind} number belongs: correct or remove it')
    return found


def as_numbers(values: Any, where: str, what: str, count: int | None = None, whole: bool = False) -> list[float]:
    """A list of finite numbers; the options are those of :func:`as_number`, and how many there are to be (None: any).

    Raises:
        UserError: It is none.
    """
    if not isinstance(values, list) or count not in (None, len(values)):
        belongs = f'a list of {"" if count is None else f"{count} "}numbers belongs'
        raise UserError(f'{where} has {shown(values)} as {what}, where {belongs}: correct or remove it')
    return [as_number(value, where, f'part of {what}', whole) for value in values]


def size_said(image: Any, where: str) -> tuple[int, int]:
    """Height and width of an image's entry, which has ``get``.

    Raises:
        UserError: They are no whole numbers.
    """
    height, width = (int(as_number(image.get(side), where, side, whole=True)) for side in ('height', 'width'))
    return height, width


def mask_of_outline(parts: Sequence[Any], size: tuple[int, int], where: str) -> np.ndarray:
    """What lies within polygons.

    Args:
        parts (Sequence): Of each polygon x0, y0, x1, y1 and so on, in pixels.
        size (tuple[int, int]): Height and width of the image.
        where (str): File and entry.

    Returns:
        ndarray: bool (H, W), not empty.

    Raises:
        UserError: A polygon is none, or reaches far out of the image; or there is no pixel inside.
    """
    from pycocotools import mask as coco_mask

    # pycocotools takes four numbers as a box, and memory for all of an outline, also outside the image
    outlines = [as_numbers(part, where, 'outline') for part in parts]
    width_height = np.array(size[::-1])
    for outline in outlines:
        if len(outline) < 6 or len(outline) % 2:
            raise UserError(
                f'{where} has an outline of {len(outline)} numbers, where x and y of three points or more belong: '
                'correct or remove it'
            )
        points = np.reshape(outline, (-1, 2))
        if (points < -width_height).any() or (points > 2 * width_height).any():
            raise UserError(f'{where} has an outline that reaches far out of the image: correct or remove it')
    encoded = coco_mask.merge(coco_mask.frPyObjects(outlines, *size))
    return _not_empty(coco_mask.decode(encoded).astype(bool), where)


def mask_of_runs(runs: Sequence[float] | np.ndarray, shape: tuple[int, int], where: str) -> np.ndarray:
    """The pixels that lengths of runs of 0 and 1 in turn say, row by row, 0 first.

    Args:
        runs (Sequence[float] | ndarray): Whole numbers.
        shape (tuple[int, int]): Of what they fill.
        where (str): File and entry.

    Returns:
        ndarray: bool, not empty.

    Raises:
        UserError: They fill another number of pixels, or one is below 0, or there is no 1.
    """
    lengths = np.array(runs, float)
    pixels = shape[0] * shape[1]
    if (lengths < 0).any() or lengths.sum() != pixels:
        raise UserError(
            f'{where} has a mask whose run lengths do not fill its {pixels} pixels: export it again, or remove it'
        )
    mask = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths.astype(int)).reshape(shape)
    return _not_empty(mask, where)


def _not_empty(mask: np.ndarray, where: str) -> np.ndarray:
    if not mask.any():
        raise UserError(f'{where} has a mask without any pixel in the image: correct or remove it')
    return mask
