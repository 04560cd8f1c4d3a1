"""Schedules for partial noising: from step ``T`` back to a clean latent.

``'ddim'`` repeats the released Diff-2-in-1 sampler to the step, ``'dpmsolver++'`` needs a fifth of
its U-Net passes and is the default. Flow matching has ``'euler'`` in the place of ``'ddim'``: both are the first-order
solver of their kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..utils.compat import require_diffusers
from ..utils.errors import UserError
from ..utils.values import check_choice

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

SOLVERS = ('dpmsolver++', 'ddim')
FLOW_SOLVERS = ('dpmsolver++', 'euler')
#: Levels of flow matching are thousandths of sigma.
FLOW_LEVELS = 1000


class PartialSchedule(NamedTuple):
    """How one partial-noise sample is denoised.

    Attributes:
        scheduler: A diffusers scheduler, ready for ``step``.
        timesteps: The levels at which the denoiser runs, in order of execution.
        start: The level that the image is brought to.
    """

    scheduler: SchedulerMixin
    timesteps: list[int]
    start: int

    def step(self, output: Tensor, timestep: int, latents: Tensor) -> Tensor:
        """The latents after one of :attr:`timesteps`, which go one after another.

        Args:
            output (Tensor): What the denoiser gave, (N, c, h, w).
            timestep (int): At which.
            latents (Tensor): What it saw, same shape.

        Returns:
            Tensor: Same shape.
        """
        # a flow-matching scheduler takes whole numbers for indices, and refuses them
        time = float(timestep) if type(self.scheduler).__name__.startswith('FlowMatch') else timestep
        return self.scheduler.step(output, time, latents, return_dict=False)[0]


def check_strength(T: int, steps: int, num_train_timesteps: int = 1000) -> None:
    """Name a noise step or a number of steps that no schedule can serve.

    Raises:
        ValueError: ``T`` outside ``[1, num_train_timesteps - 1]``, or ``steps`` outside ``[1, T]``.
    """
    if not 1 <= T < num_train_timesteps:
        why = (
            ' (the released recipe uses 600)'
            if num_train_timesteps == 1000
            else f', as this diffusion model has {num_train_timesteps} steps'
        )
        raise UserError(
            f'T = {T} is out of range: the image is noised to a step between 1 and {num_train_timesteps - 1}{why}'
        )
    if not 1 <= steps <= T:
        raise UserError(
            f'steps = {steps} is out of range: between 1 and T = {T} steps lead from step {T} to a clean image'
        )


def partial_noise_schedule(config: dict, T: int, steps: int, solver: str = 'dpmsolver++') -> PartialSchedule:
    """Build the schedule that denoises from step ``T`` in about ``steps`` U-Net passes.

    Args:
        config (dict): The pretrained scheduler's config (number of steps, betas, prediction type,
            whether the signal is zero at the last step).
        T (int): Step to which images are noised, of ``num_train_timesteps``.
        steps (int): U-Net passes. ``'ddim'`` runs ``ceil(T / (T // steps))`` of them, as the
            released sampler does (``steps`` wherever it divides ``T``), or a few more where
            diffusers cannot make that stride.
        solver (str): ``'dpmsolver++'`` (second-order multistep, Lu et al. 2022) or ``'ddim'``
            (deterministic, the released ``data_creation.py``). Default 'dpmsolver++'.

    Returns:
        PartialSchedule: Scheduler, timesteps and starting step.

    Raises:
        ValueError: ``T`` or ``steps`` out of range, or an unknown solver.
    """
    check_strength(T, steps, config['num_train_timesteps'])
    check_choice('solver', solver, SOLVERS)
    return (_released_ddim if solver == 'ddim' else _dpm_solver)(config, T, steps)


def _released_ddim(config: dict, T: int, steps: int) -> PartialSchedule:
    """Steps ``1, 1 + stride, ...`` below ``T`` in reverse; the latent starts at ``T`` itself.

    The noise level of step 600 is thus labelled 589, and the last step lands on ``abar_0``: both as
    in the released sampler.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(
        config,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing='leading',
        clip_sample=False,
        thresholding=False,
    )
    # `step` goes from t to t - num_train_timesteps // num_inference_steps: not every stride can be
    # had, and the next smaller one is taken.
    total, stride = config['num_train_timesteps'], T // steps
    num_inference_steps = total // stride
    if total // num_inference_steps != stride:
        num_inference_steps += 1
        stride = total // num_inference_steps
    scheduler.set_timesteps(num_inference_steps)
    timesteps = [1 + k * stride for k in range(len(range(0, T, stride)))][::-1]
    return PartialSchedule(scheduler, timesteps, T)


def _dpm_solver(config: dict, T: int, steps: int) -> PartialSchedule:
    """Evenly spaced steps ``T, ..., 1``: the last pass sees an almost clean latent, so its features
    are those that the heads were trained on.

    What the config says of spacing is for whole runs from noise; with steps of one's own the solver
    refuses it.
    """
    from diffusers import DPMSolverMultistepScheduler

    spacings = dict.fromkeys(
        (f'use_{kind}' for kind in ('karras_sigmas', 'exponential_sigmas', 'beta_sigmas', 'flow_sigmas', 'lu_lambdas')),
        False,
    )
    scheduler = DPMSolverMultistepScheduler.from_config(
        config,
        algorithm_type='dpmsolver++',
        solver_order=2,
        lower_order_final=True,
        final_sigmas_type='zero',
        thresholding=False,
        **spacings,
    )
    timesteps = np.linspace(T, 1, steps).round().astype(np.int64)
    scheduler.set_timesteps(timesteps=timesteps.tolist())
    scheduler.set_begin_index(0)
    return PartialSchedule(scheduler, timesteps.tolist(), T)


def flow_schedule(T: int, steps: int, solver: str = 'dpmsolver++', shift: float = 1.0) -> PartialSchedule:
    """Build the schedule of a flow-matching model that denoises from sigma ``T / 1000`` in ``steps`` passes.

    The levels are set as they are: what a scheduler would shift is not shifted once more. Their distances are those of
    a whole run, ``shift * t / (1 + (shift - 1) * t)`` of even ``t`` (Esser et al. 2024, eq. 23), rounded to whole
    levels, and the last is level 1, so that the last pass sees an almost clean latent.

    Args:
        T (int): Thousandths of sigma, 1 to 999.
        steps (int): Passes of the denoiser; fewer where rounding makes two levels one.
        solver (str): 'dpmsolver++' (second order, on the prediction of the clean latent) or 'euler'.
        shift (float): Of the model's schedule. Default 1.

    Returns:
        PartialSchedule: Scheduler, levels and starting level.

    Raises:
        ValueError: ``T`` or ``steps`` out of range, or an unknown solver.
        ImportError: 'dpmsolver++' with diffusers before 0.32.
    """
    check_strength(T, steps, FLOW_LEVELS)
    if solver not in FLOW_SOLVERS:
        raise UserError(f'solver must be one of {FLOW_SOLVERS} for a flow-matching model, but got {solver!r}')
    from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

    even = np.linspace(unshifted(T / FLOW_LEVELS, shift), unshifted(1 / FLOW_LEVELS, shift), steps)
    levels = list(dict.fromkeys((shift * even / (1 + (shift - 1) * even) * FLOW_LEVELS).round().astype(int).tolist()))
    if solver == 'euler':
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        scheduler.set_timesteps(sigmas=np.array(levels) / FLOW_LEVELS)
    else:
        require_diffusers('0.32', "solver='dpmsolver++' of a flow-matching model (solver='euler' does not)")
        scheduler = DPMSolverMultistepScheduler(
            prediction_type='flow_prediction', use_flow_sigmas=True, solver_order=2, lower_order_final=True
        )
        scheduler.set_timesteps(len(levels))
        # no argument takes sigmas of one's own
        scheduler.timesteps = torch.tensor(levels)
        scheduler.sigmas = torch.tensor([*levels, 0]) / FLOW_LEVELS
    scheduler.set_begin_index(0)
    return PartialSchedule(scheduler, levels, T)


def unshifted(sigma: float, shift: float) -> float:
    """The ``t`` that a schedule shifts to ``sigma``."""
    return sigma / (shift - (shift - 1) * sigma)


def noise_ratio_of_sd(T: int) -> float:
    """Noise over signal at step ``T`` of Stable Diffusion 1.x and 2.x.

    Their betas go from 0.00085 to 0.012, linear in their roots.

    Args:
        T (int): 1 to 999.

    Returns:
        float: ``sqrt((1 - abar_T) / abar_T)``.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = np.prod(1 - betas[: T + 1])
    return float(((1 - abar) / abar) ** 0.5)
