"""Batches of images with several kinds of labels."""

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models import SegDataPreProcessor

from ...utils.errors import UserError
from .packing import INDEX_FIELDS

#: Field -> what is no truth in it.
_FIELDS = {
    **dict.fromkeys(('gt_depth_map', 'gt_normal_map', 'gt_normal_weight'), 0),
    **dict.fromkeys(INDEX_FIELDS, 255),
}


@MODELS.register_module()
class SceneDataPreProcessor(SegDataPreProcessor):
    """``SegDataPreProcessor`` whose padding is invalid depth and no normal (0), and does not count (255) in parts,
    boundaries and saliency.

    MMSegmentation's pads depth with ``seg_pad_val`` (255), a valid number of metres, and leaves
    normals as they are.

    Args:
        **kwargs: As in ``SegDataPreProcessor``.

    Raises:
        ValueError: In training, depth or normals have another size than their image.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """As ``SegDataPreProcessor``."""
        if not training:
            return super().forward(data, training)
        _check_sizes(data)
        data = super().forward(data, training)
        size = tuple(data['inputs'].shape[-2:])
        for sample in data.get('data_samples') or ():
            height, width = sample.metainfo['img_shape'][:2]
            for name, outside in _FIELDS.items():
                if name in sample:
                    field = sample.get(name)
                    inside = field.data[..., :height, :width]
                    del field.data  # its setter wants the size that was
                    field.data = F.pad(inside, (0, size[1] - width, 0, size[0] - height), value=outside)
            sample.set_metainfo(dict(pad_shape=size))  # normals alone leave it None
        return data


def _check_sizes(data: dict) -> None:
    for image, sample in zip(data['inputs'], data.get('data_samples') or ()):
        height, width = image.shape[-2:]
        for name in _FIELDS:
            if name in sample and tuple(sample.get(name).data.shape[-2:]) != (height, width):
                raise UserError(
                    f'{name} of {sample.metainfo.get("img_path")} does not have the size '
                    f'{width} x {height} of its image: in a training pipeline load it before what '
                    'changes sizes, and leave out transforms that know only label maps (Pad)'
                )
