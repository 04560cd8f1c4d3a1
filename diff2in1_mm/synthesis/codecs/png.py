"""Arrays as PNG."""
from pathlib import Path
from typing import Optional

import cv2
import numpy as np


def encode_png(array: np.ndarray) -> bytes:
    """(H, W), or (H, W, 3) in RGB, uint8 or uint16, to PNG."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)  # cv2 writes BGR
    written, buffer = cv2.imencode('.png', np.ascontiguousarray(array))
    if not written:
        raise OSError(f'cv2 could not encode an array of shape {array.shape} as PNG.')
    return buffer.tobytes()


def decode_png(path: Path) -> Optional[np.ndarray]:
    """The array of a file as cv2 has it (colours BGR); None if it is no picture."""
    content = np.frombuffer(path.read_bytes(), np.uint8)  # cv2 raises for an empty one
    return cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
