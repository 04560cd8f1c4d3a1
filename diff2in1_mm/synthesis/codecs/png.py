"""Arrays as PNG."""
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
