"""Objects of one image, and those of source images as a data set has them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..utils.errors import UserError
from .base import Label
from .coco import decoded_mask, readable_mask

__all__ = ['Instances', 'painted', 'source_label']


class Instances(NamedTuple):
    """Objects of one image.

    Attributes:
        bboxes: float (n, 4), x1 y1 x2 y2 in pixels.
        labels: Class indices, integer (n,).
        scores: Confidence, float (n,) in [0, 1].
        ignored: Whether the loss is to leave the object alone, bool (n,).
        masks: bool (n, H, W), or None.
    """

    bboxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray
    masks: np.ndarray | None = None


def source_label(entry: Mapping[str, Any], size: tuple[int, int]) -> Label:
    """What a data set says of an image, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry with ``instances``, ``height`` and ``width``, as
            MMDetection's COCO and VOC data sets give it. ``instances_of_picture``, :class:`Instances` of a picture
            of that size which was made of it, come before these.
        size (tuple[int, int]): Height and width of the generated picture.

    Returns:
        Label: With confidence 1; crowds, difficult objects and those whose mask says nothing are to
            be ignored.

    Raises:
        ValueError: The entry has no instances to take.
    """
    made = entry.get('instances_of_picture')
    if made is not None:
        return _whole(made)
    if 'instances' not in entry or not {'height', 'width'} <= set(entry):
        raise UserError(
            f'the entry of {entry.get("img_path")} has no boxes, which creation.label_from="source" or levels by class '
            '(T) take: set label_from="fresh" and one T'
        )
    found = entry['instances']
    height, width = entry['height'], entry['width']
    scale = np.array([size[1] / width, size[0] / height] * 2)
    masks, broken = None, np.zeros(len(found), bool)
    if found and all('mask' in instance for instance in found):
        usable = [readable_mask(instance['mask']) for instance in found]
        masks = np.stack([decoded_mask(mask, (height, width), size) for mask in usable])
        broken = np.array([not mask for mask in usable])
    ignored = np.array([i['ignore_flag'] for i in found], bool) | broken
    annotation = Instances(
        np.array([i['bbox'] for i in found], float).reshape(-1, 4) * scale,
        np.array([i['bbox_label'] for i in found], int),
        np.ones(len(found)),
        ignored,
        masks,
    )
    return _whole(annotation)


def _whole(found: Instances) -> Label:
    share = float(found.ignored.mean()) if len(found.labels) else 0.0
    return Label(found, dict(confidence=1.0, ignored=share, instances=float(len(found.labels))))


def painted(found: Instances, size: tuple[int, int], table: np.ndarray, default: int) -> np.ndarray:
    """What a table has for the class of each object, within its mask, or its box where there are no masks.

    Args:
        found (Instances): Of an image.
        size (tuple[int, int]): Its height and width.
        table (ndarray): One number for each class; of objects over each other the least counts.
        default (int): Outside of objects.

    Returns:
        ndarray: (H, W), of the table's dtype.
    """
    picture = np.full(size, default, table.dtype)
    numbers = table[found.labels].astype(int)
    for i in np.argsort(-numbers):
        left, top, right, bottom = np.round(found.bboxes[i]).astype(int).clip(0)
        place = (slice(top, bottom), slice(left, right)) if found.masks is None else found.masks[i].astype(bool)
        picture[place] = numbers[i]
    return picture
