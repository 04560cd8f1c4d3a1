"""Losses of surface normals, with and without uncertainty."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.values import check_choice

# Beyond it the arc cosine has no usable gradient; the released code leaves such pixels out.
_MAX_COSINE = 0.999


def _l1(pred: Tensor, target: Tensor) -> Tensor:
    return (pred[:, :3] - target).abs().sum(1)


def _cosine(pred: Tensor, target: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(pred[:, :3], target, dim=1)


def _l2(pred: Tensor, target: Tensor) -> Tensor:
    return (pred[:, :3] - target).square().sum(1)


def _angle(cosine: Tensor, kappa: Tensor) -> Tensor:
    return cosine.acos()


def _nll_angular(cosine: Tensor, kappa: Tensor) -> Tensor:
    """Negative log likelihood of the angular von Mises-Fisher distribution (Bae et al., eq. 4)."""
    return -(kappa.square() + 1).log() + kappa * cosine.acos() + (1 + (-kappa * math.pi).exp()).log()


def _nll_vmf(cosine: Tensor, kappa: Tensor) -> Tensor:
    """Negative log likelihood of the von Mises-Fisher distribution, without its constant."""
    return -kappa.log() - kappa * (cosine - 1) + (1 - (-2 * kappa).exp()).log()


_OF_VECTORS: dict[str, Callable] = dict(l1=_l1, l2=_l2, cosine=_cosine)
_OF_ANGLES: dict[str, Callable] = dict(angular=_angle, nll_angular=_nll_angular, nll_vmf=_nll_vmf)


@MODELS.register_module()
class NormalLoss(nn.Module):
    """Mean over the valid pixels of one of six losses (Bae, Budvytis, Cipolla, ICCV 2021).

    ``'l1'`` and ``'l2'`` sum the (squared) differences of the three components. ``'cosine'`` is one
    less the cosine of the angle, ``'angular'``
    the angle in radians. ``'nll_angular'`` (the released code's ``NLL_ours``) and ``'nll_vmf'``
    also take the concentration kappa. The last three leave out pixels whose cosine is 0.999 or
    more in size. No valid pixel: the loss is 0, with a gradient of 0 (the released code: NaN).

    Args:
        kind (str): As above. Default 'nll_angular'.
        loss_weight (float): Default 1.
        loss_name (str): In the log. Default 'loss_normal'.

    Raises:
        ValueError: Unknown kind.
    """

    def __init__(self, kind: str = 'nll_angular', loss_weight: float = 1.0, loss_name: str = 'loss_normal') -> None:
        super().__init__()
        check_choice('the loss of normals', kind, (*_OF_VECTORS, *_OF_ANGLES))
        self.kind, self.loss_weight, self._loss_name = kind, loss_weight, loss_name

    @property
    def loss_name(self) -> str:
        """str: Key of the loss in the log."""
        return self._loss_name

    @property
    def wants_kappa(self) -> bool:
        """bool: The prediction must have a fourth channel."""
        return self.kind.startswith('nll')

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """The loss.

        Args:
            pred (Tensor): Normals of unit length and, for the likelihoods, kappa > 0; shape
                (N, 3 or 4, ...).
            target (Tensor): Normals, (N, 3, ...).
            mask (Tensor): Which pixels count, bool (N, ...), or how much, float >= 0.

        Returns:
            Tensor: Scalar.
        """
        # the square of a kappa of 256 is beyond float16
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
        if self.kind in _OF_VECTORS:
            values = _OF_VECTORS[self.kind](pred, target)
        else:
            cosine = F.cosine_similarity(pred[:, :3], target, dim=1)
            counts = cosine.abs() < _MAX_COSINE
            mask = mask & counts if mask.dtype == torch.bool else mask * counts
            # a pixel that is left out must not bring its infinite gradient
            cosine = torch.where(mask > 0, cosine, 0.0)
            kappa = pred[:, 3] if self.wants_kappa else cosine
            values = _OF_ANGLES[self.kind](cosine, kappa)
        total = torch.where(mask > 0, values * mask, 0.0).sum()
        number = mask.sum()
        return self.loss_weight * total / torch.where(number > 0, number, 1)
