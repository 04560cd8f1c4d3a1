"""What families have in common whose denoiser is a U-Net."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .attention_maps import attention_layers
from .condition import Condition
from .control import ControlBranch
from .latent_model import LatentModel
from .padding import pad_to_stride
from .taps import FeatureTaps, Tap, unet_taps
from .timestep_noise import TimestepNoise

_FEW_STEPS = 4
#: What a model that was distilled for all scales of guidance is told, as diffusers' pipeline of such models has it.
_GUIDANCE = 8.5


class UNetModel(TimestepNoise, LatentModel):
    """A U-Net on latents, frozen, and its noise schedule.

    Args:
        vae (nn.Module): Image autoencoder.
        unet (UNet2DConditionModel): Denoiser.
        schedule (Mapping): Scheduler config with betas and prediction type.
        source (str): Where they came from, for messages and records. Default ''.
    """

    _control: Callable[..., dict[str, Any]] | None = None

    def __init__(self, vae: Any, unet: Any, schedule: Mapping, source: str = '') -> None:
        super().__init__()
        self.vae, self.unet, self.source = vae, unet, source
        self._set_schedule(schedule)
        if _is_distilled(schedule):
            self.few_steps = _FEW_STEPS
        self.freeze()

    @property
    def denoiser(self) -> nn.Module:
        """nn.Module: The U-Net."""
        return self.unet

    @property
    def stride(self) -> int:
        """int: What image sides are padded to (64 for Stable Diffusion)."""
        return self.latent_stride * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def taps(self) -> list[Tap]:
        """list[Tap]: Every inner map that can be a feature, see :func:`unet_taps`."""
        return unet_taps(self.unet, self.latent_stride)

    def attention_layers(self) -> dict[int, list[str]]:
        """dict[int, list[str]]: See :func:`attention_layers`."""
        return attention_layers(self.unet, self.latent_stride)

    @property
    def can_decode(self) -> bool:
        """bool: False where zeros take the decoder's place, since VPD's checkpoints have none."""
        return bool(self.vae.decoder.conv_out.weight.any())

    def _watch(self, taps: Sequence[str], size: tuple[int, int]) -> FeatureTaps:
        return FeatureTaps(self.unet, taps)

    @contextmanager
    def controlled(self, branch: ControlBranch, pictures: Tensor) -> Iterator[None]:
        """Let a control branch take part in every pass of the U-Net, which then follows pictures.

        Args:
            branch (ControlBranch): That fits the U-Net (:meth:`ControlBranch.check_fits`).
            pictures (Tensor): What it was trained to follow, RGB in [0, 1], shape (N, 3, H, W), of the images' size.
        """
        pictures = self._prepare(pad_to_stride(pictures, self.stride))
        self._control = lambda *told, **more: branch(pictures, *told, **more)
        try:
            yield
        finally:
            self._control = None

    def _pass(self, latents: Tensor, step: Tensor, condition: Condition) -> Tensor:
        return self._run_unet(latents, step, condition)

    def _run_unet(self, latents: Tensor, step: Tensor, condition: Condition, **told) -> Tensor:
        """A pass with the residuals of a control branch, if there is one; ``told`` goes to both."""
        guidance = self._guidance(latents)
        residuals = {} if self._control is None else self._control(latents, step, condition.sequence, **told)
        return self.unet(latents, step, condition.sequence, **guidance, **told, **residuals, return_dict=False)[0]

    def _guidance(self, latents: Tensor) -> dict[str, Tensor]:
        """For a latent consistency model (Luo et al. 2023) what embeds the scale of guidance; else nothing."""
        width = self.unet.config.get('time_cond_proj_dim')
        if not width:
            return {}
        from diffusers.models.embeddings import get_timestep_embedding

        scale = latents.new_full((len(latents),), _GUIDANCE - 1, dtype=torch.float32)
        embedded = get_timestep_embedding(scale, width, downscale_freq_shift=1, scale=1000)
        return dict(timestep_cond=embedded.to(latents.dtype))

    @property
    def context_dim(self) -> int:
        """int: Channels of a text embedding (768 for SD 1.x, 1024 for 2.x)."""
        return self.unet.config.cross_attention_dim

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.context_dim)


def _is_distilled(schedule: Mapping) -> bool:
    """Whether a scheduler says that its model takes one to four steps: LCM by its class, SD-Turbo and SDXL-Turbo by how
    they count, which models that begin at pure noise do, too."""
    kind = schedule.get('_class_name', '')
    trailing = schedule.get('timestep_spacing') == 'trailing' and not schedule.get('rescale_betas_zero_snr')
    return kind.startswith('LCM') or (trailing and 'Euler' in kind)
