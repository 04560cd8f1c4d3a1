"""Cross entropy of what is rare: boundaries, and what is salient."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.errors import UserError


@MODELS.register_module()
class BalancedBCELoss(nn.Module):
    """Binary cross entropy in which positive and negative pixels have weights ``w`` and ``1 - w``, for a stock head
    with ``num_classes=2, out_channels=1``.

    Xie and Tu (ICCV 2015), equation 2, as a mean over the pixels that count: ``w`` is the share of negative
    pixels in the batch, or fixed (0.95 for boundaries in ASTMT, ATRC and InvPT).

    Args:
        pos_weight (float | None): ``w``, in (0, 1). None: the share of negative pixels.
        loss_weight (float): Default 1.
        loss_name (str): In the log. Default 'loss_bce'.

    Raises:
        ValueError: ``pos_weight`` is out of range.
    """

    def __init__(self, pos_weight: float | None = None, loss_weight: float = 1.0, loss_name: str = 'loss_bce') -> None:
        super().__init__()
        if pos_weight is not None and not 0 < pos_weight < 1:
            raise UserError(f'pos_weight of BalancedBCELoss is a number between 0 and 1, not {pos_weight!r}')
        self.pos_weight, self.loss_weight, self._loss_name = pos_weight, loss_weight, loss_name

    @property
    def loss_name(self) -> str:
        """str: Key of the loss in the log."""
        return self._loss_name

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = 255, **kwargs
    ) -> Tensor:
        """Weighted mean over the pixels that count; 0 without one.

        Args:
            pred (Tensor): Logits, (N, 1, H, W).
            target (Tensor): 0, 1 or ``ignore_index``, (N, H, W).
            weight (Tensor | None): Of each pixel, (N, H, W).
            ignore_index (int): Of pixels that do not count.

        Returns:
            Tensor: Scalar.
        """
        counts = (target != ignore_index).float() * (1 if weight is None else weight)
        positive = (target == 1).float()
        total = counts.sum().clamp_min(1e-6)
        share = ((1 - positive) * counts).sum() / total if self.pos_weight is None else self.pos_weight
        weights = torch.where(target == 1, share, 1 - share) * counts
        losses = F.binary_cross_entropy_with_logits(pred[:, 0].float(), positive, weights, reduction='sum')
        return self.loss_weight * losses / total
