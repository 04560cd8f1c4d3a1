"""Losses that MMSegmentation lacks."""
from .normal_loss import NormalLoss

__all__ = ['NormalLoss']
