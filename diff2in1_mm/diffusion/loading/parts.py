"""What a latent diffusion model consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from ..conditions.kept_texts import KeptTexts


class Parts(NamedTuple):
    """The components of a latent diffusion model.

    Attributes:
        vae: Image autoencoder.
        unet: Denoiser.
        schedule: Scheduler config with betas and prediction type.
        load_text: Takes nothing and gives ``(tokenizer, text encoder)``.
        kept_texts: Where embeddings of texts are kept; None: nowhere.
    """

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: dict
    load_text: Callable
    kept_texts: KeptTexts | None = None
