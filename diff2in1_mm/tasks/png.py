"""Arrays as PNG."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..utils.errors import UserError

__all__ = ['decode_png', 'encode_png', 'read_png16']


def encode_png(array: np.ndarray) -> bytes:
    """(H, W), or (H, W, 3) in RGB, uint8 or uint16, to PNG."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)  # cv2 writes BGR
    written, buffer = cv2.imencode('.png', np.ascontiguousarray(array))
    if not written:
        raise OSError(f'cv2 could not encode an array of shape {array.shape} as PNG.')
    return buffer.tobytes()


def decode_png(content: bytes) -> np.ndarray | None:
    """A picture file's content as it is: any depth and channels, three of them as RGB; of a PNG with a palette, as
    VOC's label maps are, its indices.

    Args:
        content (bytes): Of a PNG, or any other picture that cv2 reads.

    Returns:
        ndarray | None: (H, W) or (H, W, channels); None if it is no picture.
    """
    if _has_palette(content):  # whose colours cv2 would give
        with suppress(OSError), Image.open(BytesIO(content)) as indexed:
            return np.array(indexed)
        return None
    values = np.frombuffer(content, np.uint8)
    picture = cv2.imdecode(values, cv2.IMREAD_UNCHANGED) if values.size else None  # else it raises
    if picture is not None and picture.ndim == 3 and picture.shape[2] == 3:
        return picture[..., ::-1]
    return picture


def _has_palette(content: bytes) -> bool:
    """Whether the header of a PNG says that its pixels are indices: colour type 3 (PNG specification, 11.2.1)."""
    return content[:8] == b'\x89PNG\r\n\x1a\n' and content[25:26] == b'\x03'


def read_png16(path: Path) -> np.ndarray:
    """The values of a PNG of 16 bits, uint16 (H, W) or (H, W, 3) in RGB.

    Raises:
        ValueError: It is none.
    """
    values = decode_png(path.read_bytes())
    if values is None or values.dtype != np.uint16:
        raise UserError('not a readable PNG of 16 bits')
    return values
