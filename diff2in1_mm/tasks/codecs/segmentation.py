"""Label maps in files."""

from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError
from .base import AnnotationCodec, Named
from .png import decode_png, encode_png

__all__ = ['SegmentationCodec']


class SegmentationCodec(AnnotationCodec):
    """Label maps as one-channel uint8 PNG, holding raw file values (see ``to_raw_labels``)."""

    suffix = '.png'

    def encode(self, annotation: Any, record: Named, image_shape) -> dict[str, bytes]:
        """Integer array (H, W), values 0..255, of the image's size, to PNG."""
        annotation = np.asarray(annotation)
        self.check_shape(annotation, image_shape)
        if not np.issubdtype(annotation.dtype, np.integer):
            raise UserError(f'the annotation is {annotation.dtype}, not integer labels.')
        if annotation.size and (annotation.min() < 0 or annotation.max() > 255):
            raise UserError(
                "the annotation has label values outside 0..255, which MMSegmentation's LoadAnnotations cannot read."
            )
        return {self.suffix: encode_png(annotation.astype(np.uint8))}

    def decode(self, path: Path) -> np.ndarray:
        """PNG to uint8 array (H, W)."""
        annotation = decode_png(path.read_bytes())
        if annotation is None:
            raise UserError('not a readable PNG')
        return annotation

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For MMSegmentation's ``LoadAnnotations``."""
        info['seg_map_path'] = str(path)
