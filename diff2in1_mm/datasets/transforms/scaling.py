"""A random scale of a scene, that depth follows."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...utils.errors import UserError
from ...utils.values import is_number

__all__ = ['ScaleScene']


@TRANSFORMS.register_module()
class ScaleScene(BaseTransform):
    """Resizes image and all labels by a random factor, labels to the nearest pixel; normals stay as they are.

    A picture enlarged ``s`` times shows what the same camera sees of a scene that is ``s`` times as near, so depth is
    divided by ``s``, as ATRC and InvPT do.

    Args:
        ratio_range (Sequence[float]): Least and largest factor. Default (0.5, 2).
        divide_depth (bool): Whether depth is divided; False for a camera that zooms. Default True.

    Raises:
        ValueError: Not two numbers above 0, the smaller first.
    """

    def __init__(self, ratio_range: Sequence[float] = (0.5, 2.0), divide_depth: bool = True) -> None:
        if len(ratio_range) != 2 or not all(is_number(r, 1e-3) for r in ratio_range) or ratio_range[0] > ratio_range[1]:
            raise UserError(f'ratio_range of ScaleScene is (least, largest), two numbers above 0, not {ratio_range!r}')
        self.least, self.largest = ratio_range
        self.divide_depth = divide_depth

    def transform(self, results: dict) -> dict:
        """Resizes what is there."""
        factor = float(np.random.uniform(self.least, self.largest))
        results = TRANSFORMS.build(dict(type='mmseg.Resize', scale_factor=factor, keep_ratio=True))(results)
        if self.divide_depth and 'gt_depth_map' in results:
            results['gt_depth_map'] = results['gt_depth_map'] / np.float32(factor)
            if 'largest_depth' in results:  # not after MMSegmentation's LoadDepthAnnotation
                results['largest_depth'] = results['largest_depth'] / factor
        return results
