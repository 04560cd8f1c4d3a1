"""Batches of images with depth or normals."""
from typing import Any, Dict

import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models import SegDataPreProcessor


@MODELS.register_module()
class SceneDataPreProcessor(SegDataPreProcessor):
    """``SegDataPreProcessor`` whose padding is invalid depth and no normal (0).

    MMSegmentation's pads depth with ``seg_pad_val`` (255), a valid number of metres, and leaves
    normals as they are.

    Args:
        **kwargs: As in ``SegDataPreProcessor``.
    """

    def forward(self, data: dict, training: bool = False) -> Dict[str, Any]:
        """As ``SegDataPreProcessor``."""
        data = super().forward(data, training)
        if not training:
            return data
        size = tuple(data['inputs'].shape[-2:])
        for sample in data.get('data_samples') or ():
            height, width = sample.metainfo['img_shape'][:2]
            for name in ('gt_depth_map', 'gt_normal_map', 'gt_normal_weight'):
                if name in sample:
                    field = sample.get(name)
                    inside = field.data[..., :height, :width]
                    del field.data  # its setter wants the size that was
                    field.data = F.pad(inside, (0, size[1] - width, 0, size[0] - height))
            sample.set_metainfo(dict(pad_shape=size))  # normals alone leave it None
        return data
