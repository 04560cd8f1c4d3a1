"""What a config builds: backbones, necks, heads and losses."""
from .backbones import DiffusionBackbone
from .diffusion_training import AutoencoderTrainer, DenoiserTrainer
from .necks import DiffusionAggregator

__all__ = ['AutoencoderTrainer', 'DenoiserTrainer', 'DiffusionAggregator', 'DiffusionBackbone']
