"""Backbones that put a diffusion model into a config."""

from .diffusion_backbone import DiffusionBackbone

__all__ = ['DiffusionBackbone']
