"""The scale-invariant loss of depth, with a gradient for every input."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MaskedSiLogLoss(nn.Module):
    """Root of the mean squared log difference less a part of the squared mean, over valid pixels.

    Eigen, Puhrsch and Fergus (NeurIPS 2014), equation 4, with VPD's root. Equal to MMSegmentation's
    ``SiLogLoss``, whose gradient is NaN for an image without a valid pixel and where prediction and
    target agree exactly, as theta_E's and theta_C's do at first; here it is 0 for both.

    Args:
        variance_focus (float): Share of the squared mean that is subtracted. Default 0.5.
        eps (float): Metres; truth up to it is invalid, and no depth counts as less. Default 1e-4.
        loss_weight (float): Default 1.
        loss_name (str): In the log. Default 'loss_silog'.
    """

    def __init__(
        self, variance_focus: float = 0.5, eps: float = 1e-4, loss_weight: float = 1.0, loss_name: str = 'loss_silog'
    ) -> None:
        super().__init__()
        self.variance_focus, self.eps = variance_focus, eps
        self.loss_weight, self._loss_name = loss_weight, loss_name

    @property
    def loss_name(self) -> str:
        """str: Key of the loss in the log."""
        return self._loss_name

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Mean over the images that have valid depth.

        Args:
            pred (Tensor): Metres, (N, 1, H, W).
            target (Tensor): Metres, (N, 1, H, W); 0 and what is no finite number are invalid.

        Returns:
            Tensor: Scalar.
        """
        pred, target = pred.float().flatten(1), target.flatten(1)
        valid = (target > self.eps) & target.isfinite()
        target = torch.where(valid, target, 1)  # before the logarithm: NaN times 0 is NaN
        difference = (target.log() - pred.clamp_min(self.eps).log()) * valid
        number = valid.sum(1).clamp_min(1)
        mean_square = difference.square().sum(1) / number
        squared_mean = (difference.sum(1) / number).square()
        inner = mean_square - self.variance_focus * squared_mean
        # the root's gradient is infinite at 0: below a relative error of 1e-4 there is none
        loss = inner.clamp_min(1e-8).sqrt() * valid.any(1)
        return self.loss_weight * loss.sum() / valid.any(1).sum().clamp_min(1)
