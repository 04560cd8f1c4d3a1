"""Predictions as files, for ``tools/test.py --out``."""
import os.path as osp
from typing import Any, Mapping

import numpy as np

from ..files import write_atomic
from ..synthesis.codecs import AnnotationCodec

__all__ = ['write_prediction']


def write_prediction(folder: str, sample: Mapping[str, Any], codec: AnnotationCodec,
                     values: np.ndarray) -> None:
    """Write a predicted map under the name of its image, as a store would hold it.

    Args:
        folder (str): Made if missing.
        sample (Mapping): With ``img_path``.
        codec (AnnotationCodec): Of the task.
        values (ndarray): Float (H, W) or (H, W, 3), as the codec takes it.
    """
    stem = osp.splitext(osp.basename(sample['img_path']))[0]
    for suffix, content in codec.encode(values, None, values.shape[:2]).items():
        write_atomic(osp.join(folder, f'{stem}{suffix}'), content)
