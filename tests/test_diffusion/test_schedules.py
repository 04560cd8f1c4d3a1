import json

import numpy as np
import pytest
import torch

from diff2in1_mm.diffusion.schedules import check_strength, flow_schedule, partial_noise_schedule
from diff2in1_mm.utils import compat

from .test_taps import _load_fill

CONFIG = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule='scaled_linear',
    prediction_type='epsilon',
)


def run(schedule, denoiser, latents):
    """All latents along the way, the start first."""
    path = [latents]
    for timestep in schedule.timesteps:
        output = denoiser(path[-1], timestep)
        path.append(schedule.scheduler.step(output, timestep, path[-1], return_dict=False)[0])
    return path


def test_ddim_equals_the_released_sampler(golden):
    spec, values = json.loads((golden / 'ddim.json').read_text()), np.load(golden / 'ddim.npz')
    fill = _load_fill(golden)
    x0, noise = (torch.from_numpy(fill.fill(i['name'], i['shape'], i['kind'])) for i in spec['inputs'])
    schedule = partial_noise_schedule(CONFIG, T=600, steps=50, solver='ddim')
    assert schedule.timesteps == spec['executed_timesteps'] and schedule.start == 600
    start = schedule.scheduler.add_noise(x0, noise, torch.tensor([600]))
    path = run(schedule, lambda x, t: 0.3 * x.tanh() + 0.0001 * t, start)
    for step in (1, 10, 25, 50):
        name = f'latent_after_{step}'
        key = spec['prefix'] + name
        got = path[step].flatten()[fill.positions(key, x0.numel())].double().numpy()
        error = np.abs(got - values[f'{key}.values']).max()
        assert error <= 5 * spec['float32_error'][name]['max_abs'], name


@pytest.mark.parametrize('prediction', ['epsilon', 'v_prediction'])
@pytest.mark.parametrize(
    'solver,T,steps',
    [('ddim', 600, 50), ('ddim', 400, 7), ('dpmsolver++', 600, 10), ('dpmsolver++', 37, 37), ('dpmsolver++', 999, 1)],
)
def test_a_perfect_denoiser_gives_the_image_back(solver, T, steps, prediction):
    """With the true noise as prediction every solver ends at the clean latent."""
    schedule = partial_noise_schedule({**CONFIG, 'prediction_type': prediction}, T, steps, solver)
    x0, noise = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64).unbind()
    alphas = schedule.scheduler.alphas_cumprod.double()

    def denoiser(x, t):
        abar = alphas[t]
        eps = (x - abar**0.5 * x0) / (1 - abar) ** 0.5
        return eps if prediction == 'epsilon' else abar**0.5 * eps - (1 - abar) ** 0.5 * x0

    first = schedule.timesteps[0]
    start = alphas[first] ** 0.5 * x0 + (1 - alphas[first]) ** 0.5 * noise
    end = run(schedule, denoiser, start)[-1]
    # DDIM lands on abar_0 = 0.99915, as the released sampler does, not on a noise-free latent.
    torch.testing.assert_close(end, x0, rtol=0, atol=0.2 if solver == 'ddim' else 1e-3)


def test_the_last_pass_sees_an_almost_clean_latent():
    for solver in ('ddim', 'dpmsolver++'):
        assert partial_noise_schedule(CONFIG, 400, 10, solver).timesteps[-1] == 1


@pytest.mark.parametrize('spacing', ['karras_sigmas', 'beta_sigmas', 'exponential_sigmas', 'lu_lambdas', 'flow_sigmas'])
def test_what_a_pretrained_config_says_of_spacing_does_not_matter(spacing):
    for solver in ('ddim', 'dpmsolver++'):
        ours = partial_noise_schedule({**CONFIG, f'use_{spacing}': True}, 400, 10, solver)
        plain = partial_noise_schedule(CONFIG, 400, 10, solver)
        assert ours.timesteps == plain.timesteps
        latents = torch.ones(1, 4, 2, 2)
        end = run(ours, lambda x, t: 0.3 * x.tanh(), latents)[-1]
        torch.testing.assert_close(end, run(plain, lambda x, t: 0.3 * x.tanh(), latents)[-1])


def test_flow_matching_by_an_earlier_diffusers_has_one_solver_and_says_so(monkeypatch):
    monkeypatch.setattr(compat.importlib.metadata, 'version', lambda name: '0.31.0')
    assert flow_schedule(400, 4, 'euler').timesteps[-1] == 1
    with pytest.raises(ImportError, match=r"of a flow-matching model \(.*'euler' does not\) needs diffusers>=0.32"):
        flow_schedule(400, 4, 'dpmsolver++')


def test_a_short_schedule_is_named_without_the_recipe_for_a_long_one():
    with pytest.raises(ValueError, match='between 1 and 99, as this diffusion model has 100 steps'):
        partial_noise_schedule({**CONFIG, 'num_train_timesteps': 100}, 400, 10)


@pytest.mark.parametrize(
    'T,steps,words',
    [(0, 1, 'T = 0 is out of range'), (1000, 10, 'between 1 and 999'), (5, 6, 'steps = 6 is out of range')],
)
def test_impossible_strengths_are_named(T, steps, words):
    with pytest.raises(ValueError, match=words):
        check_strength(T, steps)


def test_unknown_solvers_are_named():
    with pytest.raises(ValueError, match="must be one of .*, not 'euler'"):
        partial_noise_schedule(CONFIG, 400, 10, 'euler')
