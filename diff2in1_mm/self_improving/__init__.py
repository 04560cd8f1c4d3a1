"""The self-improving stage: teacher theta_C (an EMA), student theta_E, pseudo labels in the forward pass."""

from .hook import SelfImprovingHook
from .theta_c import ThetaC

__all__ = ['SelfImprovingHook', 'ThetaC']
