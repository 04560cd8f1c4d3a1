"""Losses that MMSegmentation lacks."""
from .multiscale_normal_loss import MultiscaleNormalLoss
from .normal_loss import NormalLoss

__all__ = ['MultiscaleNormalLoss', 'NormalLoss']
