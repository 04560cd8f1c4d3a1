"""Diffusers folders: made new, read, and written as a whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..diffusion.loading.folder import load_tokenizer, load_whole
from ..diffusion.precision import DTYPES
from ..utils.atomic_folders import replace_folder
from ..utils.compat import clip_text_model, settle_sample_size
from ..utils.errors import UserError
from .tokenizer import cut_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionPipeline

#: What Stable Diffusion's pipelines may have beside the model, and nothing here uses.
UNCHECKED = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def new_pipeline(
    vae: AutoencoderKL, unet: dict, text_encoder: dict, scheduler: dict, captions: Sequence[str], seed: int = 0
) -> StableDiffusionPipeline:
    """A pipeline with a trained autoencoder and everything else untrained.

    Args:
        vae (AutoencoderKL): The trained autoencoder; its latents have unit variance after scaling.
        unet (dict): Arguments of ``UNet2DConditionModel``; the latents' channels and the width of
            the text encoder are filled in.
        text_encoder (dict): Arguments of ``CLIPTextConfig``; vocabulary and special tokens are
            filled in from the tokenizer.
        scheduler (dict): Arguments of ``DDIMScheduler``.
        captions (Sequence[str]): Texts that the vocabulary shall serve without splitting them
            further than CLIP's does.
        seed (int): Of the initial weights. Default 0.

    Returns:
        StableDiffusionPipeline: Without safety checker.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = dict(max_position_embeddings=77)
    settings.update(text_encoder)
    tokenizer = cut_tokenizer(captions, settings['max_position_embeddings'])
    settings.update(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    channels = vae.config.latent_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CLIPTextModel(CLIPTextConfig(**settings))
        denoiser = UNet2DConditionModel(
            **{
                'in_channels': channels,
                'out_channels': channels,
                'cross_attention_dim': encoder.config.hidden_size,
                **unet,
            }
        )
    settle_sample_size(denoiser)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=DDIMScheduler(**scheduler),
        **UNCHECKED,
    )


def load_pipeline(source: str) -> StableDiffusionPipeline:
    """All parts of a diffusers folder or hub id, in float32.

    Raises:
        ValueError: It cannot be loaded, or is incomplete; the sentence says why.
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    kinds = dict(vae=AutoencoderKL, unet=UNet2DConditionModel, text_encoder=clip_text_model())
    with _named(source):
        # The pipeline's own loading fills up what is missing, and says so in a warning only.
        parts = {name: load_whole(kind, source, name).float() for name, kind in kinds.items()}
        settle_sample_size(parts['unet'])
        pipeline = StableDiffusionPipeline.from_pretrained(source, **parts, tokenizer=None, **UNCHECKED)
        pipeline.register_modules(tokenizer=load_tokenizer(source))  # given above, diffusers 0.31 refuses its class
        return pipeline


def load_vae(source: str) -> AutoencoderKL:
    """Only the autoencoder of a diffusers folder or hub id, in float32.

    Raises:
        ValueError: It cannot be loaded, or is incomplete; the sentence says why.
    """
    from diffusers import AutoencoderKL

    with _named(source):
        return load_whole(AutoencoderKL, source, 'vae').float()


def read_configs(source: str) -> tuple[dict, dict]:
    """Settings of autoencoder and U-Net, without their weights.

    Raises:
        ValueError: They cannot be read; the sentence says why.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with _named(source):
        return (
            AutoencoderKL.load_config(source, subfolder='vae'),
            UNet2DConditionModel.load_config(source, subfolder='unet'),
        )


@contextmanager
def _named(source: str):
    """Turn a loader's own words into one sentence."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split('\n')[0]
        raise UserError(
            f'{source!r} is not a diffusers pipeline that can be loaded ({reason}); give a folder with '
            'model_index.json, vae and unet, or a hub id'
        ) from error


def save_pipeline(pipeline: StableDiffusionPipeline, folder: str, dtype: str = 'fp32') -> None:
    """Write a pipeline as safetensors, so that readers see the old or the new one, never a mix.

    Args:
        pipeline (StableDiffusionPipeline): What to write; it is not changed.
        folder (str): Target; an existing one is replaced.
        dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
    """
    replace_folder(folder, lambda path: write_pipeline(pipeline, path, dtype))


def write_pipeline(pipeline: StableDiffusionPipeline, folder: str, dtype: str = 'fp32') -> None:
    """Write a pipeline file by file: into a folder that nobody reads yet.

    Args:
        pipeline (StableDiffusionPipeline): What to write; it is not changed.
        folder (str): Target.
        dtype (str): As :func:`save_pipeline` takes it.
    """
    if dtype != 'fp32':
        pipeline = copy.deepcopy(pipeline).to(dtype=DTYPES[dtype])
    pipeline.save_pretrained(folder, safe_serialization=True)
