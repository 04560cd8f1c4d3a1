"""What families have in common whose denoiser is a transformer that was trained by flow matching."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import UserError
from .conditions.pipeline_texts import PipelineTexts
from .latent_model import LatentModel
from .loading.components import Components, FromFolder
from .schedules import FLOW_LEVELS, PartialSchedule, flow_schedule
from .taps import FeatureTaps


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
    level_dtype = torch.float32  # half precision has not all levels

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

    def _watch(self, taps: Sequence[str], size: tuple[int, int]) -> FeatureTaps:
        known = {tap.name: tap for tap in self.taps()} if taps else {}
        return FeatureTaps(self.transformer, [known[name] for name in taps], size)

    @abstractmethod
    def text_pipeline(self) -> Any:
        """The family's pipeline with tokenizers and text encoders."""


def _shift(schedule: dict[str, Any]) -> float:
    """How much a scheduler moves its steps towards noise; where that depends on the size, for 1024 x 1024 pixels."""
    if not schedule.get('use_dynamic_shifting'):
        return float(schedule.get('shift') or schedule.get('flow_shift') or 1.0)
    mu = float(schedule.get('max_shift') or 1.15)
    return mu if schedule.get('time_shift_type') == 'linear' else math.exp(mu)
