"""Diffusion models without text (DDPM, LDM): a ``UNet2DModel`` on pixels or on the latents of an autoencoder."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import UserError
from .condition import Condition
from .loading.components import Components, FromFolder
from .loading.refusals import refuse_other_kinds
from .unet_model import UNetModel


class PlainUNet(FromFolder, UNetModel):
    """A U-Net of images of one's own field, conditioned on nothing or on a class (Ho et al. 2020; Rombach et al. 2022).

    Without an autoencoder its latents are the pixels; of one channel where the U-Net takes grey images, of which RGB
    ones are the mean. A vector-quantised autoencoder has no posterior: its latents are the same every time.

    Args:
        components (Components): Of its folder or hub id.
    """

    needed = ('unet', 'scheduler')
    has_text = False

    def __init__(self, components: Components) -> None:
        part = next((name for name in ('vqvae', 'vae') if components.has(name)), None)
        configs = components.config('unet'), components.config(part) if part else {}, components.config('scheduler')
        refuse_other_kinds(components.source, *configs)
        unet, vae, schedule = configs
        if unet.get('time_embedding_type') == 'fourier':
            raise UserError(
                f'{components.source} has another kind of noise levels (a variance-exploding score model), which are '
                'not supported: use a DDPM or a latent diffusion model'
            )
        channels = (vae['latent_channels'],) if vae else (1, 3)
        if unet['in_channels'] not in channels:
            raise UserError(
                f'{components.source} has a U-Net of {unet["in_channels"]} input channels, but '
                f'{"its autoencoder" if vae else "images"} of {channels[-1]}: give an unconditional or '
                'class-conditional model of images'
            )
        vae_module = components.module(part) if part else None
        super().__init__(vae_module, components.module('unet'), schedule, components.source)
        self.text = _NoTexts(self.source)

    @property
    def latent_stride(self) -> int:
        """int: Image pixels per latent element; 1 without an autoencoder."""
        return super().latent_stride if self.vae is not None else 1

    @property
    def image_dtype(self) -> torch.dtype:
        """torch.dtype: In which images are encoded."""
        return super().image_dtype if self.vae is not None else self.dtype

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.vae is None:
            return (images.mean(1, keepdim=True) if self.unet.config.in_channels == 1 else images), None
        if hasattr(self.vae, 'quantize'):
            return self.vae.encode(images).latents, None
        return super()._moments(images)

    def scaled(self, latents: Tensor) -> Tensor:
        """See :meth:`LatentModel.scaled`; pixels stay as they are."""
        return latents if self.vae is None else super().scaled(latents)

    def unscaled(self, latents: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        return latents if self.vae is None else super().unscaled(latents)

    @property
    def can_decode(self) -> bool:
        """bool: Always."""
        return True

    def _decoded(self, latents: Tensor) -> Tensor:
        return latents.expand(-1, 3, -1, -1) if self.vae is None else super()._decoded(latents)

    def _pass(self, latents: Tensor, step: Tensor, condition: Condition) -> Tensor:
        output = self.unet(latents, step, condition.extras.get('class_label'), return_dict=False)[0]
        return output[:, : latents.shape[1]]  # what follows is the learned variance

    def check_condition(self, condition: Condition) -> None:
        """Compare a condition with what the U-Net takes.

        Raises:
            ValueError: It has tokens, or a class is missing, unknown, or of no use.
        """
        if condition.sequence.numel():
            raise UserError(f"{self.source!r} takes no text: set condition=dict(type='Prompt'), which tells it nothing")
        labels, classes = condition.extras.get('class_label'), self.unet.config.num_class_embeds
        if (self.unet.class_embedding is None) != (labels is None):
            raise UserError(
                f"{self.source!r} is not told a class: set condition=dict(type='Prompt')"
                if self.unet.class_embedding is None
                else f"{self.source!r} is told a class: set condition=dict(type='ClassLabel', label=...)"
            )
        if labels is not None and classes and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(
                f'{self.source!r} knows the classes 0 to {classes - 1}, but ClassLabel has '
                f'{sorted(set(labels.tolist()))}'
            )


class _NoTexts:
    """In the place of text encoders: the empty text is nothing, any other is refused."""

    in_memory = False

    def __init__(self, source: str) -> None:
        self.source = source

    def kept(self) -> Any:
        return nullcontext(self)

    def embed(self, texts: Sequence[str]) -> Condition:
        self.check_lengths(texts)
        return Condition(torch.zeros(len(texts), 0, 0))

    def averaged(self, groups: Sequence[Sequence[str]]) -> Tensor:
        raise UserError(f"{self.source!r} takes no text: set condition=dict(type='Prompt')")

    def check_lengths(self, texts: Sequence[str]) -> None:
        for text in texts:
            if text:
                raise UserError(
                    f"{self.source!r} takes no text, but got {text[:60]!r}: set condition=dict(type='Prompt'), which "
                    'tells it nothing'
                )
