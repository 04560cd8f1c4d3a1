"""Schedules for partial noising: from step ``T`` back to a clean latent.

``'ddim'`` repeats the released Diff-2-in-1 sampler to the step, ``'dpmsolver++'`` needs a fifth of
its U-Net passes and is the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..utils.errors import UserError
from ..utils.values import check_choice

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

SOLVERS = ('dpmsolver++', 'ddim')


class PartialSchedule(NamedTuple):
    """How one partial-noise sample is denoised.

    Attributes:
        scheduler: A diffusers scheduler, ready for ``step``.
        timesteps: The timesteps at which the U-Net runs, in order of execution.
        start: The timestep whose noise level the image is brought to.
    """

    scheduler: SchedulerMixin
    timesteps: list[int]
    start: int


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
