import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import EulerAncestralDiscreteScheduler

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion.families import check_source, load_diffusion
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ..family_models import SD_NOISE, build, save
from ..small_models import assert_same, write_json


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save('xl', tmp_path_factory.mktemp('xl'))


@pytest.fixture(scope='module')
def plain():
    return build('xl')


def told(pipeline, prompt):
    sequence, _, pooled, _ = pipeline.encode_prompt(prompt, device='cpu', do_classifier_free_guidance=False)
    return sequence, pooled


@pytest.mark.parametrize('size', [(64, 64), (41, 30)])
def test_features_equal_plain_diffusers(folder, plain, size):
    names = ['up_blocks.1.resnets.1', 'up_blocks.0.upsamplers.0']
    backbone = DiffusionBackbone(folder, taps=names, timestep=30, condition=dict(type='Prompt', text='a car')).eval()
    images = torch.rand(2, 3, *size) * 2 - 1
    padded = F.pad(images, (0, -size[1] % 8, 0, -size[0] % 8), mode='replicate')
    height, width = padded.shape[-2:]
    kept = {}
    hooks = [
        plain.unet.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))
        for name in names
    ]
    sequence, pooled = told(plain, 'a car')
    with torch.no_grad():
        latents = plain.vae.encode(padded).latent_dist.mean * 0.5
        ids = plain._get_add_time_ids((height, width), (0, 0), (height, width), torch.float32, 20)
        output = plain.unet(
            latents,
            30,
            sequence.expand(2, -1, -1),
            added_cond_kwargs=dict(text_embeds=pooled.expand(2, -1), time_ids=ids.expand(2, -1)),
        ).sample
    for hook in hooks:
        hook.remove()
    (found,) = backbone(images)
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    assert_same(found, torch.cat([kept[name] for name in reversed(names)], 1)[..., :rows, :columns])
    again = backbone.diffusion.encode(images)
    assert_same(backbone.diffusion.predict(again, 30, backbone._condition)[0], output)


def test_texts_are_those_of_the_pipeline(folder, plain):
    model = load_diffusion(folder)
    sequence, pooled = told(plain, ['a car', ''])
    condition = model.text.embed(['a car', ''])
    assert_same(condition.sequence, sequence)
    assert_same(condition.pooled, pooled)
    assert not model.text.in_memory
    model.check_condition(condition)
    assert not model.text.negative('').sequence.any() and model.text.negative('a').sequence.any()
    with pytest.raises(ValueError, match='has 42 tokens, but the text encoder takes 24: shorten'):
        model.text.embed(['a' * 40])
    with pytest.raises(ValueError, match='ClassNames needs a model of one CLIP'):
        model.text.averaged([['a car']])


@pytest.mark.parametrize('guidance', [1.0, 3.0])
def test_a_run_from_noise_is_that_of_the_pipeline(folder, plain, guidance):
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
        output_type='pt',
    ).images
    assert_same(made, expected * 2 - 1)


def test_the_autoencoder_stays_in_float32_unless_it_need_not(folder, tmp_path):
    model = load_diffusion(folder, dtype='bf16')
    assert model.vae.dtype == torch.float32 and model.dtype == torch.bfloat16
    latents = model.encode(torch.zeros(1, 3, 16, 16))
    assert latents.dtype == torch.bfloat16 and model.decode(latents.float(), (16, 16)).dtype == torch.float32
    pipeline = build('xl')
    pipeline.vae.register_to_config(force_upcast=False)
    pipeline.save_pretrained(tmp_path)
    assert load_diffusion(str(tmp_path), dtype='bf16').vae.dtype == torch.bfloat16


def test_turbo_has_its_own_number_of_steps(tmp_path):
    scheduler = EulerAncestralDiscreteScheduler(timestep_spacing='trailing', **SD_NOISE)
    model = load_diffusion(save('xl', tmp_path, scheduler=scheduler))
    generator = PartialNoiseGenerator(T=400)
    generator.check_model(model)
    assert generator.steps_for(400) == 4 and model.schedule['beta_end'] == 0.012


@pytest.mark.parametrize(
    'part, change, words',
    [
        ('unet', dict(in_channels=9), '9 input channels for latents of 4: inpainting'),
        ('unet', dict(addition_embed_type=None), 'is not told text and sizes as SDXL is'),
        ('vae', dict(latents_mean=[0.0] * 4), 'shifts its latents'),
    ],
)
def test_relatives_are_refused_by_their_configs(tmp_path, part, change, words):
    folder = save('xl', tmp_path)
    path = tmp_path / part / 'config.json'
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(ValueError, match=words):
        load_diffusion(folder)


def test_what_is_missing_is_named(tmp_path):
    folder = save('xl', tmp_path)
    (tmp_path / 'text_encoder_2' / 'model.safetensors').unlink()
    with pytest.raises(ValueError, match='the text_encoder_2 of .* could not be loaded .*: complete the folder'):
        load_diffusion(folder).text.embed(['a'])
    (tmp_path / 'unet' / 'config.json').unlink()
    for look in (check_source, load_diffusion):
        with pytest.raises(ValueError, match='has no unet/config.json: give the folder'):
            look(folder)
