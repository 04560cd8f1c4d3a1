"""The end of a pipeline with several kinds of labels."""

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs

from ...utils.errors import UserError
from .rotation import settle_flips

#: Maps of class indices beside that of segmentation, 255 where a pixel does not count.
INDEX_FIELDS = ('gt_part_map', 'gt_boundary_map', 'gt_saliency_map')
_FILL = 255


@TRANSFORMS.register_module()
class PackSceneInputs(PackSegInputs):
    """``PackSegInputs`` that also packs ``gt_normal_map``, (3, H, W) float32 of unit length or 0, and the indices of
    ``gt_part_map``, ``gt_boundary_map`` and ``gt_saliency_map``, (1, H, W) int64.

    Vectors follow the one ``RandomFlip`` that a pipeline may have (a second one overwrites what the
    first has noted down; for several directions give it a list of them).

    Args:
        meta_keys: As in ``PackSegInputs``.

    Raises:
        ValueError: Vectors are neither of unit length nor 0, as after a transform that fills them
            in or mixes them, or depth is filled in with 255, which would count as metres.
    """

    def transform(self, results: dict) -> dict:
        """As ``PackSegInputs``."""
        settle_flips(results)
        _check_depth(results)
        packed = super().transform(results)
        for name in INDEX_FIELDS:
            if name in results:
                data = torch.from_numpy(results[name].astype(np.int64))[None]
                packed['data_samples'].set_data({name: PixelData(data=data)})
        if 'gt_normal_map' in results:
            vectors = results['gt_normal_map']
            length = np.linalg.norm(vectors, axis=2)
            if not np.all((length == 0) | (np.abs(length - 1) < 1e-2)):
                raise UserError(
                    'gt_normal_map has vectors that are not of unit length: turn '
                    'scenes with RotateScene, which keeps them, not with RandomRotate'
                )
            data = torch.from_numpy(np.ascontiguousarray(vectors.transpose(2, 0, 1)))
            packed['data_samples'].gt_normal_map = PixelData(data=data)
        return packed


def _check_depth(results: dict) -> None:
    """MMSegmentation's transforms fill what comes in from outside with 255, a label of no class."""
    depth = results.get('gt_depth_map')
    if depth is not None and results.get('largest_depth', _FILL) < _FILL and (depth == _FILL).any():
        raise UserError(
            f'gt_depth_map is filled with {_FILL}, which would count as metres: turn '
            'scenes with RotateScene, or give the transform that fills seg_pad_val=0'
        )
