"""VPD's depth head on maps of any size."""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.decode_heads.vpd_depth_head import VPDDepthHead
from torch import Tensor

from .targets import depth_target, resized, sum_losses


@MODELS.register_module()
class DepthHead(VPDDepthHead):
    """MMSegmentation's ``VPDDepthHead``, whose four maps must be even multiples of each other, for
    the maps of any image. Depth is ``max_depth`` times a sigmoid, as in VPD (Zhao et al. 2023).

    Args:
        **kwargs: As in ``VPDDepthHead``; ``embed_dim * 8`` must be ``feature_dim``. The loss is
            ``MaskedSiLogLoss`` unless given.
    """

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault('loss_decode', dict(type='MaskedSiLogLoss'))
        super().__init__(**kwargs)

    def forward(self, inputs) -> Tensor:
        """Depth (N, 1, H, W) in metres, 8 times as large as the third map, of four maps."""
        fine, middle, coarse, coarsest = inputs
        size = coarse.shape[-2:]
        joined = torch.cat([resized(self.conv1(fine), size), resized(self.conv2(middle), size),
                            coarse, F.interpolate(coarsest, size)], dim=1)
        maps = self.conv_aggregation(joined)
        maps = maps[..., :maps.shape[-2] - self.fmap_border[0],
                    :maps.shape[-1] - self.fmap_border[1]].contiguous()
        return self.depth_pred_layer(self.decoder(maps)).sigmoid() * self.max_depth

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples) -> dict:
        """Losses of predicted depth (N, 1, h, w)."""
        target = depth_target(batch_data_samples)
        losses = self.loss_decode
        pred = resized(seg_logits, target.shape[-2:], self.align_corners)
        return sum_losses(losses if isinstance(losses, torch.nn.ModuleList) else [losses], pred,
                          target)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas) -> Tensor:
        """Depth (N, 1, H, W) at the size of the batch."""
        return resized(seg_logits, batch_img_metas[0]['pad_shape'][:2], self.align_corners)
