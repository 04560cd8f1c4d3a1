"""What families have in common that work on the latents of an image autoencoder."""

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor, nn

from ..utils.compat import autocast_dtype
from ..utils.errors import UserError
from .condition import Condition
from .contract import DiffusionModel
from .padding import latent_stride, pad_to_stride
from .taps import FeatureTaps, level_tensor


class LatentModel(DiffusionModel):
    """An autoencoder and a denoiser as one frozen model.

    Images are padded (replicate, at the bottom and right) to the stride that both need together. Latents are brought
    to about unit variance, as the denoiser knows them, and keep the padded size. Always in eval mode, never with a
    gradient.

    Attributes:
        vae (nn.Module): Image autoencoder.
        level_dtype (torch.dtype): What the denoiser is told levels of noise in.
        passes_gradients (bool): Whether :meth:`predict` gives maps with a gradient, see :meth:`with_denoiser`.
    """

    vae: Any
    level_dtype = torch.int64
    passes_gradients = False

    def with_denoiser(self, denoiser: nn.Module) -> 'LatentModel':
        """The same model around another denoiser, through which gradients pass; all other parts are shared.

        Args:
            denoiser (nn.Module): Of the same architecture; what is to be trained of it has ``requires_grad``. In
                float32 it follows the autocast around it.
        """
        other = copy.copy(self)
        other._modules = {**self._modules, self.denoiser_name: denoiser}
        other.passes_gradients = True
        return other

    def __deepcopy__(self, memo: dict) -> 'LatentModel':
        """Shared where all is frozen.

        Raises:
            ValueError: A part is trained.
        """
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise UserError(
                'a model whose denoiser is trained (backbone.train) is not to be copied, as EMAHook does: take '
                'SelfImprovingHook(warm_up=..., creation=None) in its place, whose theta_C is a moving average of all '
                'that is trained'
            )
        return self

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
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """nn.Module: The network that is asked in :meth:`predict`."""

    @property
    def denoiser_name(self) -> str:
        """str: What diffusers calls the denoiser in a pipeline."""
        return next(name for name, part in self._modules.items() if part is self.denoiser)

    # Of the first weight: diffusers' own properties look at every module, several times in a pass.
    @property
    def device(self) -> torch.device:
        """torch.device: Where the weights are."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the denoiser."""
        return next(self.denoiser.parameters()).dtype

    @property
    def image_dtype(self) -> torch.dtype:
        """torch.dtype: Of the autoencoder."""
        return next(self.vae.parameters()).dtype

    @property
    def image_device(self) -> torch.device:
        """torch.device: Of the autoencoder, which stays with the images where the denoiser waits elsewhere."""
        return self.device if self.vae is None else next(self.vae.parameters()).device

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
        return self.drawn(*self.moments(images), generators, scaled)

    @torch.no_grad()
    def moments(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first step of :meth:`encode`: what the autoencoder gives.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).

        Returns:
            tuple[Tensor, Tensor | None]: Mean and deviation of the latents' posterior, (N, c, h, w) of the padded
            images, unscaled, in :attr:`image_dtype`; no deviation where latents are the same every time.
        """
        images = self._prepare(pad_to_stride(images, self.stride), self.image_dtype)
        with torch.autocast(images.device.type, enabled=False):
            return self._moments(images)

    @torch.no_grad()
    def drawn(
        self,
        mean: Tensor,
        deviation: Tensor | None = None,
        generators: Sequence[torch.Generator] | None = None,
        scaled: bool = True,
    ) -> Tensor:
        """The second step of :meth:`encode`: latents of :meth:`moments`, sampled where there are generators."""
        if generators is not None and deviation is not None:
            from diffusers.utils.torch_utils import randn_tensor

            # as the posterior of diffusers draws, from CPU generators for any device
            noise = randn_tensor(mean.shape, generator=list(generators), device=mean.device, dtype=mean.dtype)
            mean = mean + deviation * noise
        return (self.scaled(mean) if scaled else mean).to(self.dtype)

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of images that fit, in the autoencoder's dtype."""
        posterior = self.vae.encode(images).latent_dist
        return posterior.mean, posterior.std

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

    def predict(
        self, latents: Tensor, timestep: int | Sequence[int], condition: Condition, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One pass of the denoiser.

        Args:
            latents (Tensor): Noised latents, shape (N, c, h, w).
            timestep (int | Sequence[int]): One level for the whole batch, or one per row.
            condition (Condition): Of N rows, or one for all.
            taps (Sequence[str]): Names of inner maps to keep.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: What it predicts (epsilon, v or the flow), shape (N, c, h, w), and the
            kept maps by name.
        """
        with torch.set_grad_enabled(self.passes_gradients and torch.is_grad_enabled()):
            return self._predict(latents, timestep, condition.to(latents.device, self.dtype), taps)

    def _predict(
        self, latents: Tensor, timestep: int | Sequence[int], condition: Condition, taps: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        condition = condition.expand(len(latents))
        latents = self._prepare(latents)
        size = (latents.shape[-2] * self.latent_stride, latents.shape[-1] * self.latent_stride)
        with self._own_precision(latents), self._watch(taps, size) as maps:
            level = level_tensor(timestep, latents.device, self.level_dtype).expand(len(latents))
            output = self._pass(latents, level, condition)
        return output, maps

    @property
    def _follows_autocast(self) -> bool:
        """Whether autocast is for this model, as it is for weights in float32 that are trained."""
        return self.passes_gradients and self.dtype == torch.float32

    def _own_precision(self, latents: Tensor) -> AbstractContextManager:
        if self._follows_autocast:
            return nullcontext()
        return torch.autocast(latents.device.type, enabled=False)

    def check_finite(self, what: str, tensors: Iterable[Tensor]) -> None:
        """See :meth:`DiffusionModel.check_finite`."""
        tensors = list(tensors)
        half = self._follows_autocast and autocast_dtype(self.device.type) == torch.float16
        if half and not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise UserError(
                f'{self.source!r} gives {what} that are not numbers under the float16 of mixed precision (--amp), in '
                "which what is trained is computed: set optim_wrapper.dtype='bfloat16', or leave --amp out"
            )
        super().check_finite(what, tensors)

    @abstractmethod
    def _watch(self, taps: Sequence[str], size: tuple[int, int]) -> FeatureTaps:
        """What keeps inner maps of padded images of a size (height, width), in pixels."""

    @abstractmethod
    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """What the denoiser predicts (N, c, h, w) of latents at levels (N,)."""

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
                f'make the embeddings with the text encoder that {self.source!r} was trained with'
            )
        if not pooled:
            return
        if condition.pooled is None:
            raise UserError(
                f'{self.source!r} needs a pooled text of {pooled} channels beside the tokens: give texts, for example '
                "condition=dict(type='Prompt', text=...)"
            )
        if condition.pooled.shape[-1] != pooled:
            raise UserError(
                f'the pooled text has {condition.pooled.shape[-1]} channels, but the denoiser takes {pooled}: it was '
                f'trained with another text encoder than {self.source!r} has, give the folder as it was published'
            )

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
