"""Trainers of a latent diffusion model: first its autoencoder, then its denoiser."""
from .autoencoder_trainer import AutoencoderTrainer
from .denoiser_trainer import DenoiserTrainer

__all__ = ['AutoencoderTrainer', 'DenoiserTrainer']
