"""Changes of a scene that vectors must follow."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

__all__ = ['RotateScene', 'flip_done', 'settle_flips']


def flip_done(results: dict) -> str | None:
    """Direction of the flip that a pipeline has done so far; None without one."""
    return results.get('flip_direction') if results.get('flip') else None


def settle_flips(results: dict) -> None:
    """Negate the component of ``gt_normal_map`` that a flip, done before, mirrored; once."""
    done = results.get('flipped_vectors')
    direction = flip_done(results)
    if direction == done or 'gt_normal_map' not in results:
        return
    signs = np.ones(3, np.float32)
    for axis, name in enumerate(('horizontal', 'vertical')):
        # 'diagonal' mirrors both
        if (direction in (name, 'diagonal')) != (done in (name, 'diagonal')):
            signs[axis] = -1
    results['gt_normal_map'] = results['gt_normal_map'] * signs
    results['flipped_vectors'] = direction


@TRANSFORMS.register_module()
class RotateScene(BaseTransform):
    """Turns image, depth, normals and label map about the middle; normals turn as vectors too.

    What comes in from outside is invalid: 0 for depth and normals, ``seg_pad_val`` for label maps.
    In place of MMSegmentation's ``RandomRotate``, which leaves vectors as they are.

    Args:
        prob (float): Probability of a turn. Default 0.5.
        degree (float | Sequence[float]): Range of the angle, counter-clockwise; one number means
            from minus to plus. Default 5.
        pad_val (float): For the image. Default 0.
        seg_pad_val (int): For label maps. Default 255.
    """

    def __init__(
        self, prob: float = 0.5, degree: float | Sequence[float] = 5.0, pad_val: float = 0, seg_pad_val: int = 255
    ) -> None:
        self.prob = prob
        low, high = degree if isinstance(degree, Sequence) else (-degree, degree)
        self.range: tuple[float, float] = (low, high)
        self.pad_val, self.seg_pad_val = pad_val, seg_pad_val

    def transform(self, results: dict) -> dict:
        """Turns what is there."""
        if np.random.rand() >= self.prob:
            return results
        settle_flips(results)
        angle = float(np.random.uniform(*self.range))
        results['img'] = self._turn(results['img'], angle, cv2.INTER_LINEAR, self.pad_val)
        for name in results.get('seg_fields', ()):
            outside = 0 if name in ('gt_depth_map', 'gt_normal_map') else self.seg_pad_val
            results[name] = self._turn(results[name], angle, cv2.INTER_NEAREST, outside)
        if 'gt_normal_map' in results:
            results['gt_normal_map'] = turn_vectors(results['gt_normal_map'], angle)
        return results

    @staticmethod
    def _turn(picture: np.ndarray, angle: float, interpolation: int, outside: float) -> np.ndarray:
        height, width = picture.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        return cv2.warpAffine(
            picture,
            matrix,
            (width, height),
            flags=interpolation,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(outside,) * 4,
        )


def turn_vectors(vectors: np.ndarray, angle: float) -> np.ndarray:
    """Vectors (H, W, 3) turned counter-clockwise about the optical axis, degrees."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, vectors[..., 2]], -1).astype(np.float32)
