"""The partial-noise generator: a training image, noised to a middle step and denoised again."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..diffusion.condition import Condition
from ..diffusion.conditions.prompts import Prompt
from ..diffusion.contract import DiffusionModel
from ..diffusion.latent_model import LatentModel
from ..diffusion.schedules import PartialSchedule, check_strength, noise_ratio_of_sd
from ..utils.errors import UserError
from ..utils.image_values import size_of
from ..utils.randomness import sample_noise, stable_seed
from ..utils.values import check_choice, is_number, is_whole
from .class_levels import ClassLevels, Restoration

#: Passes of the denoiser where the config names none: what the solvers need, and what the released code runs.
DEFAULT_STEPS = {'dpmsolver++': 10, 'ddim': 50, 'euler': 20}


class Generated(NamedTuple):
    """A batch of generated images.

    Attributes:
        images: RGB in [-1, 1], float32, shape (N, 3, H, W).
        taps: Inner maps of the denoiser in its last pass, by name, of the padded images.
    """

    images: Tensor
    taps: dict[str, Tensor]


@MODELS.register_module()
class PartialNoiseGenerator:
    """Makes variants of images (Diff-2-in-1, sec. 3.2; SDEdit, Meng et al. 2022).

    The latent of an image is noised to step ``T`` and denoised from there, so the result keeps the
    layout of the image: the more so, the smaller ``T`` is. Knows no model and no data set.

    Args:
        T (int | Sequence[int] | Mapping[str, int]): Level to which images are noised, 1 to 999: a timestep of a
            U-Net, thousandths of sigma for flow matching. Several: each sample draws one by its seed (DA-Fusion,
            Trabucco et al. 2024). By class, for example ``dict(default=600, person=0)``: see :class:`ClassLevels`.
            The released code has 600, which needs a diffusion model that draws such scenes well. Default 400.
        steps (int | None): Passes of the denoiser. None: what a distilled model was made for; else 10 for
            'dpmsolver++', 50 for 'ddim', 20 for 'euler'.
        solver (str): 'dpmsolver++', 'ddim' (of U-Nets) as in the released code, or 'euler' (of flow matching).
            Default 'dpmsolver++'.
        condition (dict | None): What the denoiser is told of an image, for example
            ``dict(type='Captions', path=...)``. None: the empty prompt.
        sample_posterior (bool): Sample the image's latent, as the released code does, rather than
            take the mean. Default False.
        guidance_scale (float): Classifier-free guidance (Ho & Salimans 2022), as diffusers counts
            it: 1 is none, which the released code has; more follows the condition more closely, for
            a second pass per step. Default 1.
        negative_prompt (str): What guidance leads away from. Default ''.
        T_of (str | None): 'sd': ``T`` is a step of Stable Diffusion 1.x and 2.x, and the model at hand takes its own
            level of the same noise over signal (sigma 0.54 of flow matching for 400). Default None: its own.
        T_margin (int): With levels by class, pixels by which what has the lower level is grown. Default 0.

    Raises:
        ValueError: ``T``, ``steps`` or ``guidance_scale`` is out of range, the solver is unknown,
            or guidance has nothing to lead to.

    Example:
        >>> from diff2in1_mm.diffusion import load_diffusion
        >>> diffusion = load_diffusion('diff2in1_mm/rooms')
        >>> images = torch.zeros(2, 3, 64, 96)  # RGB, from -1 to 1
        >>> prompt = diffusion.text.embed(['a room with a wooden floor'])
        >>> made = PartialNoiseGenerator(steps=2).generate(diffusion, images, prompt, seeds=[0, 1], T=400)
        >>> tuple(made.images.shape), bool(made.images.abs().max() <= 1)
        ((2, 3, 64, 96), True)
    """

    def __init__(
        self,
        T: int | Sequence[int] | Mapping[str, int] = 400,
        steps: int | None = None,
        solver: str = 'dpmsolver++',
        condition: dict | None = None,
        sample_posterior: bool = False,
        guidance_scale: float = 1.0,
        negative_prompt: str = '',
        T_of: str | None = None,
        T_margin: int = 0,
    ) -> None:
        self.by_class = ClassLevels(T, T_margin) if isinstance(T, Mapping) else None
        start = T if self.by_class is None else self.by_class.start
        self.strengths = _whole_numbers('T', start if isinstance(start, (list, tuple)) else [start])
        if T_margin and self.by_class is None:
            raise UserError(f'T_margin = {T_margin!r} grows classes, but T = {T!r} names none: leave it out')
        check_choice('solver', solver, DEFAULT_STEPS)
        check_choice('T_of', T_of, (None, 'sd'))
        self.solver, self.T_of = solver, T_of
        self.default_steps = DEFAULT_STEPS[solver]
        self.steps = None if steps is None else _whole_numbers('steps', [steps])[0]
        for strength in self.strengths:  # of a usual schedule; :meth:`check_model` asks the model's
            check_strength(strength, self.steps_for(strength))
        self.condition = MODELS.build(condition or dict(type='Prompt'))
        self.sample_posterior = sample_posterior
        self.guidance_scale, self.negative_prompt = guidance_scale, negative_prompt
        self._check_guidance()

    def check_model(self, diffusion: DiffusionModel) -> None:
        """Ask a diffusion model for what :meth:`generate` will need of it.

        Args:
            diffusion (DiffusionModel): What is to generate.

        Raises:
            ValueError: Its noise schedule has no such step, or its text encoder does not take the
                negative prompt.
        """
        self.default_steps = diffusion.few_steps or DEFAULT_STEPS[self.solver]
        for strength in self.strengths:
            self._schedule(diffusion, strength)
        if not self._guided:
            return
        if not diffusion.has_text:
            raise UserError(
                f'{diffusion.source!r} is told no text that guidance could follow: set creation.guidance_scale=1'
            )
        try:
            diffusion.text.check_lengths([self.negative_prompt])
        except ValueError as error:
            raise UserError(
                f'{error}; guidance embeds the negative prompt, and guidance_scale=1 does without it'
            ) from error

    def _schedule(self, diffusion: DiffusionModel, T: int) -> PartialSchedule:
        return diffusion.partial_schedule(self._own_level(diffusion, T), self.steps_for(T), self.solver)

    def _own_level(self, diffusion: DiffusionModel, T: int) -> int:
        """A level of the config in the model's own ones."""
        return T if self.T_of is None or not T else diffusion.level_at(noise_ratio_of_sd(T))

    def steps_for(self, T: int) -> int:
        """Passes of the denoiser from level ``T``."""
        # The default must not make a small T an error.
        return min(self.default_steps, max(T, 1)) if self.steps is None else self.steps

    def strength(self, seed: int) -> int:
        """The ``T`` of the sample with this seed."""
        if len(self.strengths) == 1:
            return self.strengths[0]
        return self.strengths[stable_seed(seed, 'T') % len(self.strengths)]

    @torch.no_grad()
    def generate(
        self,
        diffusion: DiffusionModel,
        images: Tensor,
        condition: Condition,
        seeds: Sequence[int],
        T: int,
        taps: Sequence[str] = (),
        levels: Tensor | None = None,
        alike: Sequence[int] | None = None,
    ) -> Generated:
        """Variants of a batch of images.

        Sample ``i`` depends on its image, its condition, ``seeds[i]`` and ``T`` only: alone it
        comes out the same up to rounding, whatever the batch and the device.

        Args:
            diffusion (DiffusionModel): Always the pretrained model.
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W), on the model's device.
            condition (Condition): Of N rows, or one for all.
            seeds (Sequence[int]): One per image, see :func:`stable_seed`.
            T (int): Level to which all are noised, for example :meth:`strength` of their seeds.
            taps (Sequence[str]): Inner maps to keep of the last pass.
            levels (Tensor | None): Of each pixel, (N, H, W), whole numbers of at most ``T``: the image is changed as
                that level changes it, and not at all where it is 0. None: ``T`` everywhere.
            alike (Sequence[int] | None): For each image the first one that equals it, which alone is encoded. Default
                None: all are others.

        Returns:
            Generated: Images of the same size, and the maps.

        Raises:
            ValueError: The model gave values that are not numbers, as some do in half precision.
        """
        schedule = self._schedule(diffusion, T)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        # The solvers' sums need float32; the denoiser rounds its input to its own dtype.
        clean = self._encoded(diffusion, images, generators, alike).float()
        noise = sample_noise(generators, clean)
        restore = None if levels is None else self._restoration(diffusion, clean, noise, levels)
        latents = diffusion.add_noise(clean, noise, schedule.start)
        # Once: a copy from the CPU's memory would wait for the device in every step.
        condition = condition.to(diffusion.device, diffusion.dtype)
        negative = self._negative(diffusion)
        maps: dict[str, Tensor] = {}
        for timestep, following in zip(schedule.timesteps, [*schedule.timesteps[1:], 0]):
            wanted = () if following else taps
            output, maps = self._predict(diffusion, latents, timestep, condition, negative, wanted)
            latents = schedule.step(output, timestep, latents)
            if restore is not None:
                latents = restore(latents, timestep, following)
        made = diffusion.decode(latents, size_of(images))
        if levels is not None:  # what the autoencoder changed too
            made = torch.where(levels[:, None] == 0, images, made)
        diffusion.check_finite('pictures', [made])  # black, they would be labelled and trained on
        return Generated(made, maps)

    def _encoded(
        self,
        diffusion: DiffusionModel,
        images: Tensor,
        generators: Sequence[torch.Generator],
        alike: Sequence[int] | None,
    ) -> Tensor:
        """Latents of all images, each encoded once; draws from its posterior are each sample's own."""
        posterior = generators if self.sample_posterior else None
        first = sorted(set(alike or range(len(images))))
        if alike is None or len(first) == len(images):
            return diffusion.encode(images, posterior)
        places = [first.index(i) for i in alike]
        if posterior is None:
            return diffusion.encode(images[first])[places]
        if not isinstance(diffusion, LatentModel):
            return diffusion.encode(images, posterior)
        mean, deviation = diffusion.moments(images[first])
        return diffusion.drawn(mean[places], None if deviation is None else deviation[places], posterior)

    def _restoration(self, diffusion: DiffusionModel, clean: Tensor, noise: Tensor, levels: Tensor) -> Restoration:
        """What holds each pixel at its level."""
        if self.T_of is not None:
            known = levels.unique()
            own = torch.tensor([self._own_level(diffusion, level) for level in known.tolist()], device=levels.device)
            levels = own[torch.searchsorted(known, levels)]
        return Restoration(diffusion, clean, noise, levels)

    @property
    def _guided(self) -> bool:
        return self.guidance_scale != 1

    def _check_guidance(self) -> None:
        scale = self.guidance_scale
        if not is_number(scale, 1):
            raise UserError(f'guidance_scale = {scale!r} must be a number of at least 1 (1: no guidance)')
        if not isinstance(self.negative_prompt, str):
            raise UserError(f'negative_prompt = {self.negative_prompt!r} must be a text')
        same = isinstance(self.condition, Prompt) and self.condition.prompt == self.negative_prompt
        if self._guided and same:
            raise UserError(
                f'guidance_scale = {scale} changes nothing where the condition is the '
                f'negative prompt, {self.negative_prompt!r}: set condition to what '
                'images show'
            )
        if self.negative_prompt and not self._guided:
            raise UserError(
                f'negative_prompt = {self.negative_prompt!r} has no effect without guidance: set guidance_scale above 1'
            )

    def _negative(self, diffusion: DiffusionModel) -> Condition | None:
        """What guidance leads away from, one row; None without guidance."""
        if not self._guided:
            return None
        negative = diffusion.text.negative(self.negative_prompt)  # encoded once, then kept
        return negative.to(diffusion.device, diffusion.dtype)

    def _predict(
        self,
        diffusion: DiffusionModel,
        latents: Tensor,
        timestep: int,
        condition: Condition,
        negative: Condition | None,
        taps: Sequence[str],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the scheduler is told at one step, and the maps of the pass that saw the condition.

        The passes are two, not one of twice the batch: that would take twice the memory, and
        conditions may have another number of tokens.
        """
        output, maps = diffusion.predict(latents, timestep, condition, taps)
        output = output.float()
        if negative is not None:
            free = diffusion.predict(latents, timestep, negative)[0].float()
            output = free + self.guidance_scale * (output - free)
        return output, maps


def known_to(generator: PartialNoiseGenerator, **options: Any) -> dict[str, Any]:
    """Of these arguments of :meth:`PartialNoiseGenerator.generate` those that a generator takes.

    One of a user's own may have fewer.
    """
    taken = signature(generator.generate).parameters
    return {name: value for name, value in options.items() if name in taken}


def _whole_numbers(name: str, values: Sequence[Any]) -> list[int]:
    if not values or not all(map(is_whole, values)):
        raise UserError(
            f'{name} = {list(values)!r} must be a whole number' + (', or a list of them' if name == 'T' else '')
        )
    return list(values)
