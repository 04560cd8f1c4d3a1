"""The noise of models that were trained on the timesteps of a variance-preserving schedule."""

from abc import ABC
from collections.abc import Mapping

from torch import Tensor

from ..utils.errors import UserError
from .contract import DiffusionModel
from .schedules import PartialSchedule, partial_noise_schedule


class TimestepNoise(DiffusionModel, ABC):
    """What U-Nets, and the transformers among such models, have in common: levels are timesteps (Ho et al. 2020)."""

    def _set_schedule(self, schedule: Mapping) -> None:
        """Take the config of a scheduler, with betas and prediction type."""
        from diffusers import DDIMScheduler

        self.scheduler = DDIMScheduler.from_config(dict(schedule))
        # With what the file does not say, as this scheduler takes it: other solvers must not fill
        # it in otherwise, which diffusers' own note of the defaults would have them do.
        self.schedule = {key: value for key, value in self.scheduler.config.items() if key != '_use_default_values'}

    @property
    def num_train_timesteps(self) -> int:
        """int: Length of the noise schedule."""
        return self.scheduler.config.num_train_timesteps

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

    def target(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """The noise, ``v = sqrt(abar_t) eps - sqrt(1 - abar_t) z`` (Salimans & Ho 2022), or the latent itself.

        Args:
            latents (Tensor): Clean ones.
            noise (Tensor): Standard normal, same shape.
            level (int): One timestep for the whole batch.

        Raises:
            ValueError: The scheduler's config names another prediction.
        """
        kind = self.scheduler.config.prediction_type
        abar = float(self.scheduler.alphas_cumprod[level])
        if kind == 'epsilon':
            return noise
        if kind == 'v_prediction':
            return noise * abar**0.5 - latents * (1 - abar) ** 0.5
        if kind == 'sample':
            return latents
        raise UserError(f'{self.source} predicts {kind!r}, which cannot be trained on: give a model of another kind')

    def noise_ratio(self, level: int) -> float:
        """``sqrt((1 - abar_t) / abar_t)``; of a last step without signal, a very large number."""
        abar = max(float(self.scheduler.alphas_cumprod[level]), 1e-12)
        return ((1 - abar) / abar) ** 0.5
