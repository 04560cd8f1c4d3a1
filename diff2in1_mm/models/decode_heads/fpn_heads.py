"""Light heads for normals and depth on FPN's maps."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.decode_heads import FPNHead
from torch import Tensor

from .head_losses import check_without_kappa, cosine_and_l1, sum_losses
from .targets import batch_size_of, depth_target, normal_target, resized

__all__ = ['FPNDepthHead', 'FPNNormalHead']


class _FPNMapHead(FPNHead):
    """``FPNHead`` that regresses ``out_channels`` values.

    Attributes:
        learns (str): From which labels; 'depth' or 'normals'.
    """

    learns: str

    def __init__(self, out_channels: int, **kwargs) -> None:
        # with one class MMSegmentation wants one channel and a threshold, which are not used
        super().__init__(num_classes=max(2, out_channels), out_channels=max(2, out_channels), **kwargs)
        self.conv_seg = nn.Conv2d(self.channels, out_channels, kernel_size=1)
        self.out_channels = self.num_classes = out_channels

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Maps (N, C, H, W) at the size of the batch."""
        return self.finish(resized(seg_logits, batch_size_of(batch_img_metas), self.align_corners))

    def finish(self, maps: Tensor) -> Tensor:
        """Maps of the right size as valid values."""
        return maps


@MODELS.register_module()
class FPNNormalHead(_FPNMapHead):
    """Normals from FPN's maps: a tenth of the work of ``NormalHead``, no uncertainty.

    Args:
        loss_decode (dict | list): Default: cosine and L1 ``NormalLoss``, added.
        **kwargs: As in ``FPNHead``, without ``num_classes``.

    Raises:
        ValueError: A loss needs kappa, which this head does not predict.
    """

    learns = 'normals'

    def __init__(self, loss_decode: Any = None, **kwargs) -> None:
        super().__init__(3, loss_decode=loss_decode or cosine_and_l1(), **kwargs)
        check_without_kappa('FPNNormalHead', self.loss_decode)

    def finish(self, maps: Tensor) -> Tensor:
        """Unit length."""
        return F.normalize(maps, dim=1)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[Any]) -> dict:
        """Losses of maps (N, 3, h, w)."""
        target, mask = normal_target(batch_data_samples)
        pred = self.finish(resized(seg_logits, target.shape[-2:], self.align_corners))
        return sum_losses(self.loss_decode, pred, target, mask)


@MODELS.register_module()
class FPNDepthHead(_FPNMapHead):
    """Depth from FPN's maps: ``max_depth`` times a sigmoid.

    Args:
        max_depth (float): Metres. Default 10, NYUv2's.
        loss_decode (dict | list): Default ``MaskedSiLogLoss``.
        **kwargs: As in ``FPNHead``, without ``num_classes``.
    """

    learns = 'depth'

    def __init__(self, max_depth: float = 10.0, loss_decode: Any = None, **kwargs) -> None:
        self.max_depth = max_depth
        super().__init__(1, loss_decode=loss_decode or dict(type='MaskedSiLogLoss'), **kwargs)

    def finish(self, maps: Tensor) -> Tensor:
        """Metres."""
        return torch.sigmoid(maps) * self.max_depth

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[Any]) -> dict:
        """Losses of maps (N, 1, h, w)."""
        target = depth_target(batch_data_samples)
        pred = self.finish(resized(seg_logits, target.shape[-2:], self.align_corners))
        return sum_losses(self.loss_decode, pred, target)
