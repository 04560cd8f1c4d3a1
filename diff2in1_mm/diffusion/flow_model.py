"""What families have in common whose denoiser is a transformer that was trained by flow matching."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import UserError
from .schedules import FLOW_LEVELS, PartialSchedule, flow_schedule
from .transformer_model import TransformerModel

#: Of 1024 x 1024 pixels, by whose schedule levels are spaced.
IMAGE_TOKENS = 64**2


class FlowModel(TransformerModel):
    """A transformer on latents, frozen, trained by flow matching (Lipman et al. 2023; Esser et al. 2024).

    A level is sigma in thousandths: a noised latent is ``(1 - sigma) z + sigma eps``, and the transformer predicts
    ``eps - z``. Subclasses say their taps, how texts are embedded and how the transformer is called.
    """

    num_train_timesteps = FLOW_LEVELS
    level_dtype = torch.float32  # half precision has not all levels

    def _set_schedule(self, schedule: Mapping) -> None:
        kind = schedule.get('_class_name', '')
        if not kind.startswith('FlowMatch') and not schedule.get('use_flow_sigmas'):
            raise UserError(
                f'the scheduler of {self.source} is a {kind}, but this family is trained by flow matching: give the '
                'folder as it was published'
            )
        self.schedule = {**schedule, 'shift': _shift(schedule)}

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

    def target(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """``eps - z`` (Lipman et al. 2023), at every level.

        Args:
            latents (Tensor): Clean ones.
            noise (Tensor): Standard normal, same shape.
            level (int): Any.
        """
        return noise - latents

    def noise_ratio(self, level: int) -> float:
        """``sigma / (1 - sigma)``."""
        return level / (FLOW_LEVELS - level)


def _shift(schedule: Mapping[str, Any]) -> float:
    """How much a scheduler moves its steps towards noise; where that depends on the size, for 1024 x 1024 pixels."""
    if not schedule.get('use_dynamic_shifting'):
        return float(schedule.get('shift') or schedule.get('flow_shift') or 1.0)
    low, high = (float(schedule.get(f'{end}_image_seq_len') or n) for end, n in (('base', 256), ('max', 4096)))
    least, most = (float(schedule.get(f'{end}_shift') or mu) for end, mu in (('base', 0.5), ('max', 1.15)))
    mu = least + (most - least) * (IMAGE_TOKENS - low) / (high - low)  # as diffusers' pipelines have it
    return mu if schedule.get('time_shift_type') == 'linear' else math.exp(mu)
