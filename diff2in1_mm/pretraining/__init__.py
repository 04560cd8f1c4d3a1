"""Training a small latent diffusion model of one's own images: all of ``tools/train_diffusion.py``."""

from .autoencoder_trainer import AutoencoderTrainer
from .clean_distiller import CleanDistiller
from .denoiser_trainer import DenoiserTrainer
from .full_trainer import FullTrainer
from .hooks import SampleGridHook, SavePipelineHook
from .kept_latents import KeptLatents
from .lora_trainer import LoRATrainer

__all__ = [
    'AutoencoderTrainer',
    'CleanDistiller',
    'DenoiserTrainer',
    'FullTrainer',
    'KeptLatents',
    'LoRATrainer',
    'SampleGridHook',
    'SavePipelineHook',
]
