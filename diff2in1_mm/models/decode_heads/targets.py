"""Ground truth of a batch, and predictions at its size."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import UserError

__all__ = ['batch_size_of', 'depth_target', 'normal_target', 'resized']


def normal_target(data_samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """True normals and where they are.

    Args:
        data_samples (Sequence[SegDataSample]): With ``gt_normal_map`` (3, H, W), the zero vector
            where there is none, and perhaps ``gt_normal_weight`` (1, H, W) >= 0.

    Returns:
        tuple[Tensor, Tensor]: (N, 3, H, W), and bool (N, H, W) or, if any sample has weights,
        float.

    Raises:
        ValueError: A sample has no normals.
    """
    maps = torch.stack([_field(sample, 'gt_normal_map') for sample in data_samples])
    valid = (maps != 0).any(dim=1)
    if not any('gt_normal_weight' in sample for sample in data_samples):
        return maps, valid
    weights = [
        sample.gt_normal_weight.data[0] if 'gt_normal_weight' in sample else torch.ones_like(maps[0, 0])
        for sample in data_samples
    ]
    return maps, valid * torch.stack(weights)


def batch_size_of(metas: Sequence[dict]) -> tuple[int, int]:
    """Height and width at which predictions are wanted, as MMSegmentation's heads take them.

    Args:
        metas (Sequence[dict]): Of the images. In slide inference their ``img_shape`` is the window,
            a ``torch.Size``; else ``pad_shape`` counts, where anything was padded.
    """
    size, padded = metas[0].get('img_shape'), metas[0].get('pad_shape')
    wanted: Any = padded if padded and not isinstance(size, torch.Size) else size
    return tuple(wanted)[:2]


def depth_target(data_samples: Sequence[Any]) -> Tensor:
    """True depth (N, 1, H, W) in metres, 0 where there is none.

    Raises:
        ValueError: A sample has no depth.
    """
    return torch.stack([_field(sample, 'gt_depth_map') for sample in data_samples])


def _field(sample: Any, name: str) -> Tensor:
    if name not in sample:
        raise UserError(
            f'a training sample has no {name}: load it in the pipeline (LoadNormals, '
            'LoadDepth) and end that with PackSceneInputs'
        )
    return sample.get(name).data


def resized(maps: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Maps (N, C, h, w) at a size, bilinear."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=align_corners)
