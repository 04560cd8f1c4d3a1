"""Every family that was trained by flow matching, against diffusers' own classes called plainly."""

import json

import pytest
import torch
from diffusers import DDIMScheduler

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ..family_models import build, save
from ..plain_families import FLOW
from ..small_models import assert_same, write_json
from ..versions import needs, needs_flow_sigmas

PROMPT = dict(type='Prompt', text='a red car')


@pytest.fixture(scope='module', params=FLOW)
def family(request, tmp_path_factory):
    """Name, folder, and the pipeline as diffusers has it."""
    name = request.param
    return FLOW[name], save(name, tmp_path_factory.mktemp(name)), build(name)


@needs('diffusers', '0.32', 'has no pipeline that takes levels')
def test_a_run_from_noise_is_that_of_the_pipeline(family):
    plain, folder, pipeline = family
    model = load_diffusion(folder)
    size = (32, 64)
    generator = PartialNoiseGenerator(T=999, steps=4, solver='euler', condition=PROMPT)
    images = torch.rand(1, 3, *size) * 2 - 1
    made = generator.generate(model, images, generator.condition.embed(model.text), [5], 999).images
    latents = model.encode(images)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))
    levels = model.partial_schedule(999, 4, 'euler').timesteps
    expected = plain.run(pipeline, model.add_noise(latents, noise, 999), levels, 'a red car', size)
    assert_same(made, expected * 2 - 1, 3e-5)  # the pipeline shifts its levels there and back


@pytest.mark.parametrize('solver', ['euler', pytest.param('dpmsolver++', marks=needs_flow_sigmas)])
def test_a_run_starts_at_its_level_and_ends_almost_clean(family, solver):
    model = load_diffusion(family[1])
    for T in (1, 400, 700, 999):
        schedule = model.partial_schedule(T, min(T, 10), solver)
        assert schedule.timesteps[0] == schedule.start == T and schedule.timesteps[-1] == 1
        assert float(schedule.scheduler.sigmas[0]) == pytest.approx(T / 1000)
        assert schedule.timesteps == sorted(set(schedule.timesteps), reverse=True)
    # a perfect denoiser, which knows the latent, leads back to it
    clean, noise = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64).unbind()
    latents = model.add_noise(clean, noise, 700)
    schedule = model.partial_schedule(700, 8, solver)
    for level in schedule.timesteps:
        latents = schedule.step((latents - clean) / (level / 1000), level, latents)
    torch.testing.assert_close(latents, clean, rtol=0, atol=1e-4)


def test_levels_of_stable_diffusion_have_the_same_signal_to_noise(family):
    model = load_diffusion(family[1])
    for T, level in ((400, 540), (600, 700)):
        generator = PartialNoiseGenerator(T=T, T_of='sd', solver='euler')
        assert generator._schedule(model, T).start == pytest.approx(level, abs=10)
    with pytest.raises(ValueError, match="solver must be one of .*'euler'.* for a flow-matching model"):
        model.partial_schedule(400, 10, 'ddim')


def test_few_step_models_have_their_own_number_of_steps(tmp_path):
    model = load_diffusion(save('flux', tmp_path, guided=False))
    generator = PartialNoiseGenerator(T=400, solver='euler')
    generator.check_model(model)
    assert generator.steps_for(400) == 4
    assert (
        generator.generate(model, torch.zeros(1, 3, 16, 16), model.text.embed(['a']), [0], 400).images.isfinite().all()
    )
    with pytest.raises(ValueError, match="overflow in fp16: set diffusion.dtype to 'fp32' or 'bf16'"):
        load_diffusion(str(tmp_path), dtype='fp16')


def test_sd3_does_without_its_third_text_encoder(tmp_path):
    folder = save('sd3', tmp_path, third=False)
    with torch.no_grad():
        expected = FLOW['sd3'].texts(build('sd3', third=False), ['a car'])
    model = load_diffusion(folder)
    assert_same(model.text.embed(['a car']).sequence, expected['sequence'])
    with pytest.raises(ValueError, match='has 42 tokens, but the text encoder takes 24'):
        model.text.check_lengths(['a' * 40])


def test_images_that_are_too_large_for_the_positions_are_named(tmp_path):
    backbone = DiffusionBackbone(save('sd3', tmp_path))
    with pytest.raises(ValueError, match='takes images of at most 256 pixels a side, but got 16 x 264'):
        backbone(torch.zeros(1, 3, 16, 264))


def test_another_scheduler_is_named(tmp_path):
    pipeline = build('sd3')
    pipeline.save_pretrained(tmp_path)
    DDIMScheduler().save_pretrained(tmp_path / 'scheduler')
    index = json.loads((tmp_path / 'model_index.json').read_text())
    write_json(tmp_path / 'model_index.json', {**index, 'scheduler': ['diffusers', 'DDIMScheduler']})
    with pytest.raises(ValueError, match='is a DDIMScheduler, but this family is trained by flow matching'):
        load_diffusion(str(tmp_path))
