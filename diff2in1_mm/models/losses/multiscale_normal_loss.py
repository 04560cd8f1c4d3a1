"""A loss of normals summed over the scales of a refined prediction."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..decode_heads.point_sampling import read_points
from .normal_loss import NormalLoss


@MODELS.register_module()
class MultiscaleNormalLoss(nn.Module):
    """The loss of Bae et al. with uncertainty-guided sampling (the released code's ``UG_NLL_...``).

    The sum of :class:`NormalLoss` over the scales: the coarsest prediction is enlarged to the
    ground truth's size (bilinear, aligned corners, *not* renormalised, as in the released code), of
    the others only the sampled points count, with the ground truth nearest to them.

    Args:
        kind (str): See :class:`NormalLoss`. Default 'nll_angular'.
        loss_weight (float): Default 1.
        loss_name (str): In the log. Default 'loss_normal'.
    """

    def __init__(self, kind: str = 'nll_angular', loss_weight: float = 1.0, loss_name: str = 'loss_normal') -> None:
        super().__init__()
        self.single = NormalLoss(kind, loss_weight, loss_name)

    @property
    def loss_name(self) -> str:
        """str: Key of the loss in the log."""
        return self.single.loss_name

    def forward(self, scales: Sequence[tuple[Tensor, Tensor | None]], target: Tensor, mask: Tensor) -> Tensor:
        """The loss.

        Args:
            scales (Sequence[tuple]): Coarse to fine. A dense prediction (N, 4, h, w) with None, or
                predictions at points (N, 4, P) with their coordinates (N, 1, P, 2), (x, y) in
                [-1, 1] with aligned corners.
            target (Tensor): Normals, (N, 3, H, W).
            mask (Tensor): Which pixels have them, bool (N, H, W), or how much they count, float.

        Returns:
            Tensor: Scalar.
        """
        total = target.new_zeros(())
        for pred, where in scales:
            if where is None:
                pred = F.interpolate(pred, target.shape[-2:], mode='bilinear', align_corners=True)
                total = total + self.single(pred, target, mask)
                continue
            own = read_points(target, where, 'nearest')
            valid = read_points(mask[:, None].to(target.dtype), where, 'nearest')[:, 0]
            valid = valid > 0.5 if mask.dtype == torch.bool else valid
            total = total + self.single(pred, own, valid)
        return total
