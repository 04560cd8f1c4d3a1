"""Backbones that put a diffusion model into a config."""

from .diffusion_backbone import DiffusionBackbone
from .joined_backbone import JoinedBackbone

__all__ = ['DiffusionBackbone', 'JoinedBackbone']
