import json

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion.families import load_diffusion

from ..family_models import build, save
from ..small_models import assert_same, write_json


@pytest.fixture(scope='module', params=[{}, dict(kind='Sigma', sample_size=16)], ids=['alpha', 'sigma'])
def family(request, tmp_path_factory):
    """Folder, and the pipeline as diffusers has it."""
    return save('pixart', tmp_path_factory.mktemp('model'), **request.param), build('pixart', **request.param)


@pytest.mark.parametrize('guidance', [1.0, 3.0])
def test_a_run_from_noise_is_that_of_the_pipeline(family, guidance):
    folder, plain = family
    model = load_diffusion(folder)
    prompt = dict(type='Prompt', text='a car')
    generator = PartialNoiseGenerator(T=999, steps=3, condition=prompt, guidance_scale=guidance)
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    made = generator.generate(model, images, generator.condition.embed(model.text), [5], 999).images
    schedule = model.partial_schedule(999, 3)
    noise = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(5))
    plain.scheduler = schedule.scheduler
    expected = plain(
        'a car',
        height=32,
        width=48,
        timesteps=schedule.timesteps,
        latents=model.add_noise(model.encode(images), noise, 999),
        guidance_scale=guidance,
        clean_caption=False,
        use_resolution_binning=False,
        output_type='pt',
    ).images
    assert_same(made, expected * 2 - 1)


def test_texts_have_the_limits_of_their_pipeline(family):
    model = load_diffusion(family[0])
    limit = 300 if 'Sigma' in type(family[1]).__name__ else 120
    model.text.check_lengths(['a' * (limit - 2)])
    with pytest.raises(ValueError, match=f'tokens, but the text encoder takes {limit}'):
        model.text.check_lengths(['a' * (limit - 1)])


def test_the_autoencoder_of_sigma_stays_in_float32(family):
    model = load_diffusion(family[0], dtype='bf16')
    assert model.vae.dtype == (torch.float32 if 'Sigma' in type(family[1]).__name__ else torch.bfloat16)


def test_the_name_under_which_models_were_first_published_is_known(tmp_path):
    folder = save('pixart', tmp_path)
    index = json.loads((tmp_path / 'model_index.json').read_text())
    write_json(tmp_path / 'model_index.json', {**index, 'transformer': ['diffusers', 'Transformer2DModel']})
    config = json.loads((tmp_path / 'transformer' / 'config.json').read_text())
    write_json(tmp_path / 'transformer' / 'config.json', {**config, '_class_name': 'Transformer2DModel'})
    model = load_diffusion(folder)
    assert type(model.transformer).__name__ == 'PixArtTransformer2DModel' and len(model.taps()) == 6


def test_what_computes_otherwise_is_named(tmp_path):
    pipeline = build('pixart')
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='another kind of noise levels .FlowMatchEulerDiscreteScheduler.'):
        load_diffusion(str(tmp_path))
    config = json.loads((tmp_path / 'vae' / 'config.json').read_text())
    write_json(tmp_path / 'vae' / 'config.json', {**config, 'latent_channels': 8})
    pipeline = build('pixart')
    pipeline.scheduler.save_pretrained(tmp_path / 'scheduler')
    index = json.loads((tmp_path / 'model_index.json').read_text())
    write_json(tmp_path / 'model_index.json', {**index, 'scheduler': ['diffusers', type(pipeline.scheduler).__name__]})
    with pytest.raises(ValueError, match='4 input channels for 8 of its latents: inpainting and editing'):
        load_diffusion(str(tmp_path))
