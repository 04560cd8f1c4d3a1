"""Depth and normals as pictures."""
from typing import Optional

import cv2
import matplotlib
import numpy as np

__all__ = ['depth_picture', 'normals_picture']

_BAR = 0.06  # of the height: the strip below a depth map
_LEAST_BAR = 14  # pixels


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """Normals as colours: x, y, z from -1..1 to red, green, blue.

    Args:
        normals: float (3, H, W); the zero vector becomes black.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    vectors = np.asarray(normals, np.float32)[:3].transpose(1, 2, 0)
    valid = (vectors != 0).any(axis=2, keepdims=True)
    return np.where(valid, ((vectors.clip(-1, 1) + 1) * 127.5).round(), 0).astype(np.uint8)


def depth_picture(depth: np.ndarray, max_depth: Optional[float] = None,
                  scale: bool = True) -> np.ndarray:
    """Depth in a perceptual map, near bright, with a bar that says how far.

    Args:
        depth: Metres, float (H, W) or (1, H, W); 0 (invalid) becomes black.
        max_depth: The far end of the colours; None: the largest depth.
        scale: Draw the bar into the lowest rows. Default True.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    depth = np.asarray(depth, np.float32)
    depth = depth.reshape(depth.shape[-2:])
    top = float(max_depth or depth.max(initial=0) or 1.0)
    colours = _colours(depth / top)
    picture = np.where((depth > 0)[..., None], colours, 0).astype(np.uint8)
    height, width = depth.shape
    bar = max(_LEAST_BAR, round(_BAR * height))
    if not scale or height < 3 * bar or width < 5 * bar:
        return picture
    picture = np.ascontiguousarray(picture)
    picture[-bar:] = _colours(np.linspace(0, 1, width))[None]
    size = bar / 34
    for text, place, ink in (('0 m', 2, (0, 0, 0)), (f'{top:.1f} m', None, (255, 255, 255))):
        (long, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        x = width - long - 2 if place is None else place
        cv2.putText(picture, text, (x, height - bar // 4), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1,
                    cv2.LINE_AA)
    return picture


def _colours(share: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] to uint8 RGB, (..., 3)."""
    # the map's last tenth is as good as black, which is for what is invalid
    return matplotlib.colormaps['magma_r'](np.clip(share, 0, 1) * 0.9, bytes=True)[..., :3]
