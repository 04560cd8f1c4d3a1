"""What families have in common that work on the latents of an image autoencoder."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor, nn

from ..utils.errors import UserError
from .condition import Condition
from .contract import DiffusionModel
from .loading.components import Components, check_folder
from .padding import latent_stride, pad_to_stride
from .precision import DTYPES, warn_if_slow


class LatentModel(DiffusionModel):
    """An autoencoder and a denoiser as one frozen model.

    Images are padded (replicate, at the bottom and right) to the stride that both need together. Latents are brought
    to about unit variance, as the denoiser knows them, and keep the padded size. Always in eval mode, never with a
    gradient.

    A family says its parts and calls :meth:`freeze` at the end of ``__init__(components)``.

    Attributes:
        vae (nn.Module): Image autoencoder.
        needed (tuple[str]): Subfolders that a model of the family cannot do without.
        dtypes (tuple[str]): In which the family computes right.
    """

    vae: nn.Module
    needed: tuple[str, ...] = ('transformer', 'vae', 'scheduler')
    dtypes: tuple[str, ...] = tuple(DTYPES)

    @classmethod
    def from_pretrained(
        cls, source: str, dtype: str = 'fp32', variant: str | None = None, revision: str | None = None, **options: Any
    ) -> 'LatentModel':
        """Load a diffusers folder or a hub id.

        Args:
            source (str): Folder with ``model_index.json``, or hub id.
            dtype (str): 'fp32', 'fp16' or 'bf16', of the frozen parts. Default 'fp32'.
            variant (str | None): File variant of the folder, for example 'fp16'.
            revision (str | None): Commit, branch or tag of a hub id. None: its main branch.
            **options: Of the family.

        Returns:
            LatentModel: On the CPU.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """
        if dtype not in cls.dtypes:
            raise UserError(f'dtype must be one of {sorted(cls.dtypes)} for {cls.__name__}, but got {dtype!r}')
        warn_if_slow(dtype)
        cls.check_source(source, variant)
        return cls(Components(source, DTYPES[dtype], variant, revision), **options)

    @classmethod
    def check_source(cls, source: str, variant: str | None = None) -> None:
        """See :func:`~diff2in1_mm.diffusion.loading.components.check_folder`."""
        check_folder(source, cls.needed, variant)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # Tensor cores want this layout; on the CPU it is no faster.
        if self.device.type == 'cuda':
            for parameter in self.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
        return self

    def _prepare(self, maps: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Cast to the dtype (None: the denoiser's) and memory layout of the frozen parts."""
        layout = torch.channels_last if maps.device.type == 'cuda' else torch.preserve_format
        return maps.to(dtype or self.dtype, memory_format=layout)

    def text_device(self) -> torch.device:
        """torch.device: Where texts are encoded: a model is still on the CPU while a config builds it."""
        return torch.device(get_device()) if self.device.type == 'cpu' else self.device

    @property
    def latent_stride(self) -> int:
        """int: Image pixels per latent element (8 for Stable Diffusion)."""
        return latent_stride(self.vae.config)

    @property
    def image_dtype(self) -> torch.dtype:
        """torch.dtype: Of the autoencoder."""
        return self.vae.dtype

    @torch.no_grad()
    def encode(
        self, images: Tensor, generators: Sequence[torch.Generator] | None = None, scaled: bool = True
    ) -> Tensor:
        """Images to latents.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).
            generators (Sequence[torch.Generator] | None): One per image, to sample the posterior as
                the released code does. None takes its mean.
            scaled (bool): Shift and scale as the denoiser knows latents. False only for VPD's checkpoints,
                which were trained without. Default True.

        Returns:
            Tensor: Shape (N, c, h, w) of the padded images, in :attr:`dtype`.
        """
        images = pad_to_stride(images, self.stride)
        images = self._prepare(images, self.image_dtype)
        with torch.autocast(images.device.type, enabled=False):
            latents = self._encoded(images, generators)
        return (self.scaled(latents) if scaled else latents).to(self.dtype)

    def _encoded(self, images: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
        """Unscaled latents of images that fit, in the autoencoder's dtype."""
        posterior = self.vae.encode(images).latent_dist
        return posterior.mean if generators is None else posterior.sample(list(generators))

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents of the autoencoder, as the denoiser knows them.

        Args:
            latents (Tensor): Shape (N, c, h, w).

        Returns:
            Tensor: About unit variance; same shape but for families that fold patches.
        """
        shift = self.vae.config.get('shift_factor')
        return (latents - shift if shift else latents) * self.vae.config.scaling_factor

    def unscaled(self, latents: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        latents = latents / self.vae.config.scaling_factor
        shift = self.vae.config.get('shift_factor')
        return latents + shift if shift else latents

    def check_widths(self, condition: Condition, channels: int, pooled: int | None = None) -> None:
        """Compare a condition with what the denoiser takes.

        Args:
            condition (Condition): Of images.
            channels (int): Of its tokens.
            pooled (int | None): Channels of its pooled text. Default None: there is none.

        Raises:
            ValueError: It has others.
        """
        found = condition.sequence.shape[-1]
        if found != channels:
            raise UserError(
                f'the condition has {found} channels, but the denoiser takes {channels}: '
                f'make the embeddings with the text encoder of {self.source!r}'
            )
        if pooled and (condition.pooled is None or condition.pooled.shape[-1] != pooled):
            raise UserError(
                f'{self.source!r} needs a pooled text of {pooled} channels beside the tokens: give texts, for example '
                "condition=dict(type='Prompt', text=...)"
            )

    @property
    def can_decode(self) -> bool:
        """bool: False where zeros take the decoder's place, since VPD's checkpoints have none."""
        return bool(self.vae.decoder.conv_out.weight.any())

    @torch.no_grad()
    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Latents to images.

        Args:
            latents (Tensor): Scaled, shape (N, c, h, w).
            size (tuple[int, int]): Height and width to crop to, in pixels.

        Returns:
            Tensor: RGB clamped to [-1, 1], float32, shape (N, 3, H, W).

        Raises:
            ValueError: There is no decoder.
        """
        if not self.can_decode:
            raise UserError(
                f'{self.source!r} was converted from a checkpoint without a decoder '
                'and cannot generate: set creation.diffusion to a complete model'
            )
        latents = self._prepare(self.unscaled(latents), self.image_dtype)
        with torch.autocast(latents.device.type, enabled=False):
            images = self._decoded(latents)
        return images[..., : size[0], : size[1]].float().clamp(-1, 1)

    def _decoded(self, latents: Tensor) -> Tensor:
        """Images of unscaled latents, in the autoencoder's dtype."""
        return self.vae.decode(latents).sample
