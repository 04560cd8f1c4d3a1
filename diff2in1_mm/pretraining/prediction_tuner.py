"""What trainers have in common that let a pretrained denoiser go on learning what its family predicts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..creation.generator import PartialNoiseGenerator
from ..diffusion.condition import Condition
from ..diffusion.latent_model import LatentModel
from ..utils.errors import NotInstalledError, UserError
from ..utils.image_values import size_of, to_unit_range
from ..utils.randomness import stable_seed
from .batches import spread_levels
from .denoiser_tuner import DenoiserTuner


class PredictionTuner(DenoiserTuner):
    """A denoiser that is trained as its family is: to predict the noise, v or the flow, at evenly spread levels.

    Args:
        pipeline (str): Diffusers folder, hub id or file.
        prompt (str): What to draw sample grids for. Default ''.
        sample_strengths (Sequence[int]): Levels of the rows of sample grids. Default (200, 400, 600).
        **options: Of :class:`DenoiserTuner`.
    """

    def __init__(
        self, pipeline: str, prompt: str = '', sample_strengths: Sequence[int] = (200, 400, 600), **options: Any
    ) -> None:
        super().__init__(pipeline, **options)
        self.prompt = prompt
        self.samplers = {}
        for strength in sample_strengths:
            self.pretrained.check_level(strength, 'denoiser.model.sample_strengths')
            self.samplers[strength] = _sampler(self.pretrained, strength)

    @classmethod
    def load(cls, pipeline: str, dtype: str = 'fp32') -> LatentModel:
        """See :meth:`DenoiserTuner.load`; unlabelled images have no class that a model could be told."""
        model = super().load(pipeline, dtype)
        if getattr(model.denoiser, 'class_embedding', None) is not None:
            raise UserError(f'{pipeline} is told a class, and unlabelled images have none: give a model without')
        return model

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator) -> dict[str, Tensor]:
        """``loss_denoising``, the mean squared error of the prediction.

        Args:
            latents (Tensor): Clean ones, shape (N, c, h, w), float32.
            condition (Condition): Of N rows, on the CPU.
            generator (torch.Generator): On the CPU.

        Returns:
            dict[str, Tensor]: Of that name.
        """
        # level 0 of flow matching is no noise at all, which cannot be told from the latent
        levels = (1 + spread_levels(len(latents), self.model.num_train_timesteps - 1, generator)).tolist()
        noised, noise = self.noised(latents, levels, generator)
        predicted = self.model.predict(noised, levels, condition)[0].float()
        wanted = torch.stack([self.model.target(*row) for row in zip(latents, noise, levels)])
        return dict(loss_denoising=(predicted - wanted).square().mean())

    @torch.no_grad()
    def sample_rows(self, images: Tensor, seed: int) -> dict[str, Tensor]:
        """Pictures for a sample grid: originals, and variants from each of ``sample_strengths``.

        Args:
            images (Tensor): uint8 RGB, shape (N, 3, H, W).
            seed (int): The noise derives from it, so that grids can be compared over time.

        Returns:
            dict[str, Tensor]: Rows of pictures in [-1, 1] by name.
        """
        originals, condition = to_unit_range(images), self.model.text.embed([self.prompt])
        seeds = [stable_seed(seed, 'grid', i) for i in range(len(images))]
        rows = {'original': originals, 'decoded': self.model.decode(self.model.encode(originals), size_of(originals))}
        for strength, sampler in self.samplers.items():
            rows[f'T = {strength}'] = sampler.generate(self.model, originals, condition, seeds, strength).images
        return rows


def _sampler(model: LatentModel, strength: int) -> PartialNoiseGenerator:
    """What draws variants; by Euler's method where flow matching has no other, before diffusers 0.32."""
    sampler = PartialNoiseGenerator(strength)
    try:
        sampler.check_model(model)
    except NotInstalledError:
        sampler = PartialNoiseGenerator(strength, solver='euler')
        sampler.check_model(model)
    return sampler
