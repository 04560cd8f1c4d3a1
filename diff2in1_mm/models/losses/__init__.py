"""Losses that MMSegmentation lacks."""

from .balanced_bce_loss import BalancedBCELoss
from .multiscale_normal_loss import MultiscaleNormalLoss
from .normal_loss import NormalLoss
from .silog_loss import MaskedSiLogLoss

__all__ = ['BalancedBCELoss', 'MaskedSiLogLoss', 'MultiscaleNormalLoss', 'NormalLoss']
