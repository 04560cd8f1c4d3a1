"""VPD's depth head on maps of any size."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.decode_heads.vpd_depth_head import VPDDepthHead
from torch import Tensor

from ...diffusion.padding import crop_to_stride
from ...utils.errors import UserError
from .head_losses import sum_losses
from .targets import batch_size_of, depth_target, resized


@MODELS.register_module()
class DepthHead(VPDDepthHead):
    """MMSegmentation's ``VPDDepthHead``, whose four maps must be even multiples of each other, for
    the maps of any image. Depth is ``max_depth`` times a sigmoid, as in VPD (Zhao et al. 2023).

    Args:
        padded_stride (int | None): Pixels per element of the third map, for a backbone with
            ``keep_padding``: what lies beyond the image is cut off where ``fmap_border`` cuts a
            fixed amount, which is right for one window size only. Default None: nothing is cut.
        **kwargs: As in ``VPDDepthHead``; ``embed_dim * 8`` must be ``feature_dim``. The loss is
            ``MaskedSiLogLoss`` unless given.

    Raises:
        ValueError: Both ``padded_stride`` and ``fmap_border`` are given.
    """

    learns = 'depth'

    def __init__(self, padded_stride: int | None = None, **kwargs) -> None:
        kwargs.setdefault('loss_decode', dict(type='MaskedSiLogLoss'))
        super().__init__(**kwargs)
        if padded_stride is not None and any(self.fmap_border):
            raise UserError(
                f'DepthHead cuts the padding off once: with padded_stride='
                f'{padded_stride} leave fmap_border={tuple(self.fmap_border)} out'
            )
        self.padded_stride = padded_stride

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any) -> dict[str, Tensor]:
        """The losses at the ground truth's size."""
        size = depth_target(batch_data_samples).shape[-2:]
        return self.loss_by_feat(self(inputs, size), batch_data_samples)

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: Any) -> Tensor:
        """Depth (N, 1, H, W) in metres at the size of the batch."""
        size = batch_size_of(batch_img_metas)
        return self.predict_by_feat(self(inputs, size), batch_img_metas)

    def forward(self, inputs: Sequence[Tensor], image_size: tuple[int, int] | None = None) -> Tensor:
        """Depth of four maps.

        Args:
            inputs (Sequence[Tensor]): Maps (N, C, h, w), finest first.
            image_size (tuple[int, int] | None): Height and width in pixels, for
                ``padded_stride``. None: the padding stays.

        Returns:
            Tensor: Metres, (N, 1, H, W), without what is cut; with three deconvolutions 32 times
            as large as the third map.
        """
        fine, middle, coarse, coarsest = inputs
        size = coarse.shape[-2:]
        joined = torch.cat(
            [resized(self.conv1(fine), size), resized(self.conv2(middle), size), coarse, F.interpolate(coarsest, size)],
            dim=1,
        )
        maps = self.conv_aggregation(joined)
        maps = maps[..., : maps.shape[-2] - self.fmap_border[0], : maps.shape[-1] - self.fmap_border[1]]
        stride = self.padded_stride
        if stride and image_size is not None:
            maps = crop_to_stride(maps, image_size, stride)
        depth = self.depth_pred_layer(self.decoder(maps.contiguous())).sigmoid() * self.max_depth
        if stride and image_size is not None:
            # the last coarse element can reach beyond the image (14 x 32 = 448 pixels of 427)
            fine_stride = stride * maps.shape[-1] / depth.shape[-1]
            depth = crop_to_stride(depth, image_size, fine_stride)
        return depth

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples) -> dict:
        """Losses of predicted depth (N, 1, h, w)."""
        target = depth_target(batch_data_samples)
        pred = resized(seg_logits, target.shape[-2:], self.align_corners)
        return sum_losses(self.loss_decode, pred, target)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas) -> Tensor:
        """Depth (N, 1, H, W) at the size of the batch."""
        return resized(seg_logits, batch_size_of(batch_img_metas), self.align_corners)
