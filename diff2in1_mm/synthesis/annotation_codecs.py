"""How the annotations of a task are written to files; the one place where a new task is added."""
from typing import Any, Tuple

import cv2
import numpy as np


def encode_png(array: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) RGB uint8 array to PNG."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)  # cv2 writes BGR
    written, buffer = cv2.imencode('.png', np.ascontiguousarray(array))
    if not written:
        raise OSError(f'cv2 could not encode an array of shape {array.shape} as PNG.')
    return buffer.tobytes()


class SegmentationCodec:
    """Label maps as one-channel uint8 PNG, holding raw file values (see ``to_raw_labels``)."""

    suffix = '.png'

    def encode(self, annotation: Any, image_shape: Tuple[int, int]) -> bytes:
        """Integer array (H, W), values 0..255, of the image's size, to PNG."""
        annotation = np.asarray(annotation)
        if annotation.shape != tuple(image_shape):
            raise ValueError(f'the annotation has shape {annotation.shape} but its image '
                             f'{tuple(image_shape)}: give one label per pixel.')
        if not np.issubdtype(annotation.dtype, np.integer):
            raise ValueError(f'the annotation is {annotation.dtype}, not integer labels.')
        if annotation.size and (annotation.min() < 0 or annotation.max() > 255):
            raise ValueError('the annotation has label values outside 0..255, which '
                             "MMSegmentation's LoadAnnotations cannot read.")
        return encode_png(annotation.astype(np.uint8))

    def decode(self, content: bytes) -> np.ndarray:
        """PNG to uint8 array (H, W)."""
        annotation = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if annotation is None:
            raise ValueError('not a readable PNG')
        return annotation


#: Boxes, instances, depth and normals get an entry each: a file suffix, ``encode`` and ``decode``.
_CODECS = {'segmentation': SegmentationCodec}


def annotation_codec(task: str) -> SegmentationCodec:
    """The codec of a task.

    Raises:
        ValueError: No codec for it.
    """
    if task not in _CODECS:
        raise ValueError(f'a store cannot hold annotations of the task {task!r}: this version '
                         f'knows {", ".join(sorted(_CODECS))}.')
    return _CODECS[task]()
