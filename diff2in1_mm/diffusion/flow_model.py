"""What families have in common whose denoiser is a transformer that was trained by flow matching."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import UserError
from .condition import Condition
from .conditions.pipeline_texts import PipelineTexts
from .latent_model import LatentModel
from .loading.components import Components, FromFolder
from .schedules import FLOW_LEVELS, PartialSchedule, flow_schedule
from .taps import FeatureTaps, level_tensor


class FlowModel(FromFolder, LatentModel):
    """A transformer on latents, frozen, trained by flow matching (Lipman et al. 2023; Esser et al. 2024).

    A level is sigma in thousandths: a noised latent is ``(1 - sigma) z + sigma eps``, and the transformer predicts
    ``eps - z``. Subclasses say their taps, how texts are embedded and how the transformer is called.

    Args:
        components (Components): Of its folder or hub id.

    Raises:
        ValueError: A part is missing, or its scheduler is of another kind.
    """

    num_train_timesteps = FLOW_LEVELS

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.source, self._components = components.source, components
        self.schedule = components.config('scheduler')
        self._check_configs()
        self.schedule['shift'] = _shift(self.schedule)
        self.vae = components.module('vae')
        self.transformer: Any = components.module('transformer')
        self.freeze()
        self.text = PipelineTexts(self)

    def _check_configs(self) -> None:
        kind = self.schedule.get('_class_name', '')
        if not kind.startswith('FlowMatch') and not self.schedule.get('use_flow_sigmas'):
            raise UserError(
                f'the scheduler of {self.source} is a {kind}, but this family is trained by flow matching: give the '
                'folder as it was published'
            )

    @property
    def device(self) -> torch.device:
        """torch.device: Where the weights are."""
        return self.transformer.device

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the denoiser."""
        return self.transformer.dtype

    @property
    def patch(self) -> int:
        """int: Latent elements per token, along a side."""
        return self.transformer.config.patch_size

    @property
    def stride(self) -> int:
        """int: What image sides are padded to: pixels per token."""
        return self.latent_stride * self.patch

    def partial_schedule(self, T: int, steps: int, solver: str = 'dpmsolver++') -> PartialSchedule:
        """See :func:`flow_schedule`."""
        return flow_schedule(T, steps, solver, self.schedule['shift'])

    def add_noise(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """``(1 - sigma) z + sigma eps``.

        Args:
            latents (Tensor): Shape (N, c, h, w).
            noise (Tensor): Standard normal, same shape.
            level (int): Thousandths of sigma, one for the whole batch.

        Returns:
            Tensor: Noised latents in the dtype of ``latents``.
        """
        sigma = level / FLOW_LEVELS
        return latents * (1 - sigma) + noise * sigma

    def noise_ratio(self, level: int) -> float:
        """``sigma / (1 - sigma)``."""
        return level / (FLOW_LEVELS - level)

    @torch.no_grad()
    def predict(
        self, latents: Tensor, timestep: int | Sequence[int], condition: Condition, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One pass of the transformer.

        Args:
            latents (Tensor): Noised latents, shape (N, c, h, w).
            timestep (int | Sequence[int]): One level for the whole batch, or one per row.
            condition (Condition): Of N rows, or one for all.
            taps (Sequence[str]): Names of inner maps to keep.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: The predicted flow, shape (N, c, h, w), and the kept maps by name.
        """
        known = {tap.name: tap for tap in self.taps()} if taps else {}
        condition = condition.to(latents.device, self.dtype).expand(len(latents))
        latents = self._prepare(latents)
        size = (latents.shape[-2] * self.latent_stride, latents.shape[-1] * self.latent_stride)
        kept = FeatureTaps(self.transformer, [known[name] for name in taps], size)
        with torch.autocast(latents.device.type, enabled=False), kept as maps:
            # float32, as half precision has not all levels
            level = level_tensor(timestep, latents.device, torch.float32).expand(len(latents))
            output = self._pass(latents, level, condition)
        return output, maps

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """The flow (N, c, h, w) of latents at levels (N,)."""
        raise NotImplementedError

    def text_pipeline(self) -> Any:
        """The family's pipeline with tokenizers and text encoders."""
        raise NotImplementedError


def _shift(schedule: dict[str, Any]) -> float:
    """How much a scheduler moves its steps towards noise; where that depends on the size, for 1024 x 1024 pixels."""
    if not schedule.get('use_dynamic_shifting'):
        return float(schedule.get('shift') or schedule.get('flow_shift') or 1.0)
    mu = float(schedule.get('max_shift') or 1.15)
    return mu if schedule.get('time_shift_type') == 'linear' else math.exp(mu)
