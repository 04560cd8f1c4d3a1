"""Stable Diffusion 1.x and 2.x: a U-Net on the latents of an image autoencoder, with one text encoder."""

from collections.abc import Sequence

import torch
from mmengine.device import get_device
from torch import Tensor

from ..utils.errors import UserError
from ..utils.values import check_choice
from .attention_maps import attention_layers
from .condition import Condition
from .conditions.text import TextEmbedder
from .contract import DiffusionModel
from .loading.embedded import locate
from .loading.parts import Parts
from .loading.source import check_source, load_parts
from .padding import image_stride, latent_stride, pad_to_stride
from .precision import DTYPES, warn_if_slow
from .schedules import PartialSchedule, partial_noise_schedule
from .taps import FeatureTaps, Tap, unet_taps


class LatentDiffusion(DiffusionModel):
    """VAE, U-Net, noise schedule and text embeddings as one frozen model.

    Images are RGB in [-1, 1], shape (N, 3, H, W), of any size: they are padded (replicate, at the
    bottom and right) to the stride that VAE and U-Net need together. Latents are scaled to about
    unit variance and keep the padded size.

    Always in eval mode, never with a gradient. Autocast does not apply inside: ``dtype`` does.

    Args:
        parts (Parts): The loaded components, see :func:`load_parts`.
        source (str): Where they came from, for messages and records.
    """

    def __init__(self, parts: Parts, source: str = '') -> None:
        super().__init__()
        self.vae, self.unet = parts.vae, parts.unet
        self.source = source
        from diffusers import DDIMScheduler

        self.scheduler = DDIMScheduler.from_config(dict(parts.schedule))
        # With what the file does not say, as this scheduler takes it: other solvers must not fill
        # it in otherwise, which diffusers' own note of the defaults would have them do.
        self.schedule = {key: value for key, value in self.scheduler.config.items() if key != '_use_default_values'}
        self.freeze()
        self.text = TextEmbedder(parts.load_text, self._text_device)

    @classmethod
    def from_pretrained(
        cls,
        source: str,
        dtype: str = 'fp32',
        prediction_type: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
    ) -> 'LatentDiffusion':
        """Load a diffusers folder, a hub id, or a single file in the original layout.

        Args:
            source (str): For example ``'stable-diffusion-v1-5/stable-diffusion-v1-5'``, a folder
                with ``model_index.json``, a ``.safetensors`` / ``.ckpt`` file, or
                ``'diff2in1_mm/rooms'``, the small model that comes with the package.
            dtype (str): 'fp32', 'fp16' or 'bf16', of all frozen parts. Default 'fp32'.
            prediction_type (str | None): 'epsilon' or 'v_prediction' where the source does not
                say it.
            variant (str | None): File variant of a diffusers folder, for example 'fp16'.
            revision (str | None): Commit, branch or tag of a hub id, for all its parts. None: its
                main branch, which may change between two runs.

        Returns:
            LatentDiffusion: On the CPU.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """
        check_choice('dtype', dtype, DTYPES)
        warn_if_slow(dtype)
        return cls(load_parts(locate(source), DTYPES[dtype], prediction_type, variant, revision), source)

    @classmethod
    def check_source(cls, source: str) -> None:
        """See :func:`~diff2in1_mm.diffusion.loading.source.check_source`."""
        check_source(locate(source))

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # Tensor cores want this layout; on the CPU it is no faster.
        if self.device.type == 'cuda':
            for parameter in self.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
        return self

    def _prepare(self, maps: Tensor) -> Tensor:
        """Cast to the dtype and memory layout of the frozen parts."""
        layout = torch.channels_last if maps.device.type == 'cuda' else torch.preserve_format
        return maps.to(self.dtype, memory_format=layout)

    def _text_device(self) -> torch.device:
        """Where texts are encoded: a model is still on the CPU while a config builds it."""
        return torch.device(get_device()) if self.device.type == 'cpu' else self.device

    @property
    def device(self) -> torch.device:
        """torch.device: Where the weights are."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the denoiser."""
        return self.unet.dtype

    @property
    def latent_stride(self) -> int:
        """int: Image pixels per latent element (8 for Stable Diffusion)."""
        return latent_stride(self.vae.config)

    @property
    def stride(self) -> int:
        """int: What image sides are padded to (64 for Stable Diffusion)."""
        return image_stride(self.vae.config, self.unet.config)

    @property
    def context_dim(self) -> int:
        """int: Channels of a text embedding (768 for SD 1.x, 1024 for 2.x)."""
        return self.unet.config.cross_attention_dim

    @property
    def num_train_timesteps(self) -> int:
        """int: Length of the noise schedule."""
        return self.scheduler.config.num_train_timesteps

    def taps(self) -> list[Tap]:
        """list[Tap]: Every inner map that can be a feature, see :func:`unet_taps`."""
        return unet_taps(self.unet, self.latent_stride)

    def attention_layers(self) -> dict[int, list[str]]:
        """dict[int, list[str]]: See :func:`attention_layers`."""
        return attention_layers(self.unet, self.latent_stride)

    def partial_schedule(self, T: int, steps: int, solver: str = 'dpmsolver++') -> PartialSchedule:
        """See :func:`partial_noise_schedule`."""
        return partial_noise_schedule(self.schedule, T, steps, solver)

    @torch.no_grad()
    def encode(
        self, images: Tensor, generators: Sequence[torch.Generator] | None = None, scaled: bool = True
    ) -> Tensor:
        """Images to latents.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).
            generators (Sequence[torch.Generator] | None): One per image, to sample the posterior as
                the released code does. None takes its mean.
            scaled (bool): Multiply by the VAE's scale factor. False only for VPD's checkpoints,
                which were trained without. Default True.

        Returns:
            Tensor: Shape (N, c, h, w) of the padded images, in :attr:`dtype`.
        """
        images = pad_to_stride(images, self.stride)
        images = self._prepare(images)
        with torch.autocast(images.device.type, enabled=False):
            posterior = self.vae.encode(images).latent_dist
        if generators is None:
            latents = posterior.mean
        else:
            latents = posterior.sample(list(generators))
        return latents * self.vae.config.scaling_factor if scaled else latents

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
        latents = self._prepare(latents / self.vae.config.scaling_factor)
        with torch.autocast(latents.device.type, enabled=False):
            images = self.vae.decode(latents).sample
        return images[..., : size[0], : size[1]].float().clamp(-1, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """``sqrt(abar_t) z + sqrt(1 - abar_t) eps`` (Ho et al. 2020, eq. 4).

        Args:
            latents (Tensor): Shape (N, c, h, w).
            noise (Tensor): Standard normal, same shape.
            level (int): One timestep for the whole batch.

        Returns:
            Tensor: Noised latents in the dtype of ``latents``.
        """
        abar = float(self.scheduler.alphas_cumprod[level])
        return latents * abar**0.5 + noise * (1 - abar) ** 0.5

    @torch.no_grad()
    def predict(
        self, latents: Tensor, timestep: int, condition: Condition, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One U-Net pass.

        Args:
            latents (Tensor): Noised latents, shape (N, c, h, w).
            timestep (int): One step for the whole batch.
            condition (Condition): Of N rows, or one for all.
            taps (Sequence[str]): Names of inner maps to keep.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: The U-Net's output (epsilon or v), shape (N, c, h, w),
            and the kept maps by name.
        """
        condition = condition.to(latents.device, self.dtype).expand(len(latents))
        latents = self._prepare(latents)
        with torch.autocast(latents.device.type, enabled=False), FeatureTaps(self.unet, taps) as maps:
            # on the device: diffusers would copy a number there, and wait for it
            step = torch.full((1,), timestep, device=latents.device)
            output = self.unet(latents, step, condition.sequence, return_dict=False)[0]
        return output, maps

    def check_condition(self, condition: Condition) -> None:
        """Compare a condition with what the U-Net takes.

        Args:
            condition (Condition): Of images.

        Raises:
            ValueError: It has another number of channels.
        """
        channels = condition.sequence.shape[-1]
        if channels != self.context_dim:
            raise UserError(
                f'the condition has {channels} channels, but the U-Net takes {self.context_dim}: '
                f'make the embeddings with the text encoder of {self.source!r}'
            )
