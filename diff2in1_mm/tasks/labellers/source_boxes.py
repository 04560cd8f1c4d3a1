"""The source image's own boxes and masks as the label of what was made from it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...utils.errors import UserError
from ..codecs.instances import Instances
from .base import Label

__all__ = ['source_label']


def source_label(entry: Mapping[str, Any], size: tuple[int, int]) -> Label:
    """What a data set says of an image, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry with ``instances``, ``height`` and ``width``, as
            MMDetection's COCO and VOC data sets give it.
        size (tuple[int, int]): Height and width of the generated picture.

    Returns:
        Label: With confidence 1; crowds, difficult objects and those whose mask says nothing are to
            be ignored.

    Raises:
        ValueError: The entry has no instances to take.
    """
    if 'instances' not in entry or not {'height', 'width'} <= set(entry):
        raise UserError(
            "creation.label_from='source' takes the boxes of the source images, but "
            f"the entry of {entry.get('img_path')} has none: set it to 'fresh'"
        )
    found = entry['instances']
    height, width = entry['height'], entry['width']
    scale = np.array([size[1] / width, size[0] / height] * 2)
    masks, broken = None, np.zeros(len(found), bool)
    if found and all('mask' in instance for instance in found):
        usable = [_usable(instance['mask']) for instance in found]
        masks = np.stack([_mask(mask, (height, width), size) for mask in usable])
        broken = np.array([not mask for mask in usable])
    ignored = np.array([i['ignore_flag'] for i in found], bool) | broken
    annotation = Instances(
        np.array([i['bbox'] for i in found], float).reshape(-1, 4) * scale,
        np.array([i['bbox_label'] for i in found], int),
        np.ones(len(found)),
        ignored,
        masks,
    )
    return Label(
        annotation, dict(confidence=1.0, ignored=float(ignored.mean()) if found else 0.0, instances=float(len(found)))
    )


def _usable(mask: Any) -> Any:
    """What MMDetection's ``LoadAnnotations`` takes of COCO's polygons or run lengths, or nothing.

    Hand-drawn data sets have polygons of one or two points, which are no area.
    """
    if isinstance(mask, (list, tuple)):
        return [list(map(float, p)) for p in mask if len(p) >= 6 and len(p) % 2 == 0]
    whole = isinstance(mask, Mapping) and mask.get('counts') and mask.get('size')
    return mask if whole else []


def _mask(mask: Any, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """What :func:`_usable` gives, on an image of ``shape``, as bool array of ``size``."""
    import cv2
    from pycocotools import mask as coco_mask

    if not mask:
        return np.zeros(size, bool)
    if isinstance(mask, list):
        mask = coco_mask.merge(coco_mask.frPyObjects(mask, *shape))
    elif isinstance(mask['counts'], (list, tuple)):
        mask = coco_mask.frPyObjects(mask, *shape)
    decoded = coco_mask.decode(mask)
    return cv2.resize(decoded, size[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
