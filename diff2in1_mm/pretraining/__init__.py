"""Training a small latent diffusion model of one's own images: all of ``tools/train_diffusion.py``."""

from .autoencoder_trainer import AutoencoderTrainer
from .clean_distiller import CleanDistiller
from .control_trainer import ControlTrainer
from .denoiser_trainer import DenoiserTrainer
from .full_trainer import FullTrainer
from .hooks import SampleGridHook, SavePipelineHook
from .kept_latents import KeptLatents, LabelledLatents
from .lora_trainer import LoRATrainer

__all__ = [
    'AutoencoderTrainer',
    'CleanDistiller',
    'ControlTrainer',
    'DenoiserTrainer',
    'FullTrainer',
    'KeptLatents',
    'LabelledLatents',
    'LoRATrainer',
    'SampleGridHook',
    'SavePipelineHook',
]
