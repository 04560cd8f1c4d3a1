"""Losses that MMSegmentation lacks."""

from .multiscale_normal_loss import MultiscaleNormalLoss
from .normal_loss import NormalLoss
from .silog_loss import MaskedSiLogLoss

__all__ = ['MaskedSiLogLoss', 'MultiscaleNormalLoss', 'NormalLoss']
