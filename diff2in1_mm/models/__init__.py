"""What a config builds: backbones, necks, heads and losses."""
from .backbones import DiffusionBackbone
from .diffusion_training import AutoencoderTrainer, DenoiserTrainer

__all__ = ['AutoencoderTrainer', 'DenoiserTrainer', 'DiffusionBackbone']
