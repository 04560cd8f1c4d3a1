"""The source image's own label map as the label of what was made from it."""

from collections.abc import Mapping
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine import fileio

from ...utils.errors import UserError
from ..label_values import loaded_labels
from .base import Label

__all__ = ['source_map']


def source_map(entry: Mapping[str, Any], size: tuple[int, int]) -> Label:
    """What a data set says of an image's pixels, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry with ``seg_map_path``, as MMSegmentation's data sets
            give it, how its values are read (``reduce_zero_label``, ``label_map``), and perhaps
            ``backend_args``, by which its file is.
        size (tuple[int, int]): Height and width of the generated picture.

    Returns:
        Label: Raw file values (uint8), with confidence 1.

    Raises:
        ValueError: The entry has no label map, or one that is not a single channel of 8 bits.
    """
    path = entry.get('seg_map_path')
    if not path:
        raise UserError(
            "creation.label_from='source' takes the label maps of the source images, "
            f"but the entry of {entry.get('img_path')} has none: set it to 'fresh'"
        )
    content = fileio.get(path, entry.get('backend_args'))
    raw = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
    if raw is None or raw.ndim != 2 or raw.dtype != np.uint8:
        raise UserError(
            f"creation.label_from='source' takes label maps with one channel of 8 "
            f"bits, and {path} is another picture: set it to 'fresh'"
        )
    raw = cv2.resize(raw, size[::-1], interpolation=cv2.INTER_NEAREST)
    table = loaded_labels(bool(entry.get('reduce_zero_label')), entry.get('label_map'))
    return Label(raw, dict(confidence=1.0, ignored=float((table[raw] == 255).mean())))
