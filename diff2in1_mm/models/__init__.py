"""What a config builds: backbones, necks, heads and losses."""
from .backbones import DiffusionBackbone

__all__ = ['DiffusionBackbone']
