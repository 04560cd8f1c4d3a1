"""What families have in common whose denoiser is a U-Net, with the noise of a variance-preserving schedule."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .attention_maps import attention_layers
from .condition import Condition
from .latent_model import LatentModel
from .schedules import PartialSchedule, partial_noise_schedule
from .taps import FeatureTaps, Tap, unet_taps

_TURBO_STEPS = 4


class UNetModel(LatentModel):
    """A U-Net on latents, frozen, and its noise schedule.

    Args:
        vae (nn.Module): Image autoencoder.
        unet (UNet2DConditionModel): Denoiser.
        schedule (Mapping): Scheduler config with betas and prediction type.
        source (str): Where they came from, for messages and records. Default ''.
    """

    def __init__(self, vae: Any, unet: Any, schedule: Mapping, source: str = '') -> None:
        super().__init__()
        from diffusers import DDIMScheduler

        self.vae, self.unet, self.source = vae, unet, source
        self.scheduler = DDIMScheduler.from_config(dict(schedule))
        # With what the file does not say, as this scheduler takes it: other solvers must not fill
        # it in otherwise, which diffusers' own note of the defaults would have them do.
        self.schedule = {key: value for key, value in self.scheduler.config.items() if key != '_use_default_values'}
        # SD-Turbo and SDXL-Turbo: one to four steps, which their schedulers say by how they count
        if schedule.get('timestep_spacing') == 'trailing' and 'Euler' in schedule.get('_class_name', ''):
            self.few_steps = _TURBO_STEPS
        self.freeze()

    @property
    def device(self) -> torch.device:
        """torch.device: Where the weights are."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the denoiser."""
        return self.unet.dtype

    @property
    def stride(self) -> int:
        """int: What image sides are padded to (64 for Stable Diffusion)."""
        return self.latent_stride * 2 ** (len(self.unet.config.block_out_channels) - 1)

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

    def noise_ratio(self, level: int) -> float:
        """``sqrt((1 - abar_t) / abar_t)``; of a last step without signal, a very large number."""
        abar = max(float(self.scheduler.alphas_cumprod[level]), 1e-12)
        return ((1 - abar) / abar) ** 0.5

    def _watch(self, taps: Sequence[str], size: tuple[int, int]) -> FeatureTaps:
        return FeatureTaps(self.unet, taps)

    def _pass(self, latents: Tensor, step: Tensor, condition: Condition) -> Tensor:
        return self.unet(latents, step, condition.sequence, return_dict=False)[0]

    @property
    def context_dim(self) -> int:
        """int: Channels of a text embedding (768 for SD 1.x, 1024 for 2.x)."""
        return self.unet.config.cross_attention_dim

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.context_dim)
