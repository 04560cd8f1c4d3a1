"""The partial-noise generator against plain diffusers code, and alone against in a batch."""
import pytest
import torch
from diffusers import DDIMScheduler
from mmengine.registry import MODELS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.synthesis import PartialNoiseGenerator

from ..small_models import assert_same

SEEDS = [11, 2**62 + 5, 13]


def images(height=33, width=48, count=3):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.fixture
def prompt(diffusion):
    return diffusion.text.sequences(['a street'])


def plain_loop(pipe, image, embedding, seed, posterior):
    """The released data_creation.py at T = 600, in plain diffusers calls."""
    padded = torch.nn.functional.pad(image, (0, -image.shape[3] % 16, 0, -image.shape[2] % 16),
                                     mode='replicate')
    generator = torch.Generator().manual_seed(seed)
    distribution = pipe.vae.encode(padded).latent_dist
    latents = 0.5 * (distribution.sample(generator) if posterior else distribution.mean)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear',
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing='leading')
    scheduler.set_timesteps(83)
    latents = scheduler.add_noise(latents, noise, torch.tensor([600]))
    for timestep in scheduler.timesteps[-50:]:
        output = pipe.unet(latents, timestep, embedding).sample
        latents = scheduler.step(output, timestep, latents).prev_sample
    decoded = pipe.vae.decode(latents / 0.5).sample
    return decoded[..., :image.shape[2], :image.shape[3]].clamp(-1, 1)


@pytest.mark.parametrize('posterior', [False, True])
@torch.no_grad()
def test_ddim_equals_the_released_sampler(diffusion, pipeline, prompt, posterior):
    generator = PartialNoiseGenerator(T=600, solver='ddim', sample_posterior=posterior)
    assert generator.steps_for(600) == 50
    batch = images(count=2)
    made = generator.generate(diffusion, batch, prompt, SEEDS[:2], 600).images
    expected = torch.cat([plain_loop(pipeline, batch[i:i + 1], prompt, SEEDS[i], posterior)
                          for i in range(2)])
    assert_same(made, expected)


@pytest.mark.parametrize('options', [dict(), dict(solver='ddim', steps=5, sample_posterior=True)])
def test_a_sample_alone_equals_that_of_a_batch(diffusion, options):
    generator = PartialNoiseGenerator(T=300, **options)
    batch, names = images(), ['mid_block']
    embeddings = diffusion.text.sequences(['a street', 'a tree', ''])
    whole = generator.generate(diffusion, batch, embeddings, SEEDS, 300, names)
    assert whole.images.shape == batch.shape and whole.images.abs().max() <= 1
    assert whole.taps['mid_block'].shape[:1] == (3, )
    torch.manual_seed(99)  # the global state plays no part
    for i in (2, 0):
        alone = generator.generate(diffusion, batch[i:i + 1], embeddings[i:i + 1], SEEDS[i:i + 1],
                                   300, names)
        assert_same(alone.images[0], whole.images[i], 1e-4)
        assert_same(alone.taps['mid_block'][0], whole.taps['mid_block'][i], 1e-4)
    other = generator.generate(diffusion, batch[:1], embeddings[:1], [12], 300)
    assert (other.images[0] - whole.images[0]).abs().max() > 0.01 and not other.taps


def test_taps_are_those_of_the_last_pass(diffusion, prompt, monkeypatch):
    passes = []
    predict = diffusion.predict

    def counted(latents, timestep, embeddings, taps=()):
        passes.append((timestep, tuple(taps)))
        assert latents.dtype == torch.float32
        return predict(latents, timestep, embeddings, taps)

    monkeypatch.setattr(diffusion, 'predict', counted)
    generator = PartialNoiseGenerator(T=200, steps=4)
    generator.generate(diffusion, images(count=1), prompt, [1], 200, ['mid_block'])
    assert [t for t, _ in passes] == [200, 134, 67, 1]
    assert [taps for _, taps in passes] == [()] * 3 + [('mid_block', )]
    assert all(type(timestep) is int for timestep, _ in passes)


def test_half_precision_keeps_latents_in_float32(pipeline_folder):
    from diff2in1_mm.diffusion import LatentDiffusion
    batch, generator = images(count=1), PartialNoiseGenerator(T=200, steps=4)
    full, half = (LatentDiffusion.from_pretrained(pipeline_folder, dtype=dtype)
                  for dtype in ('fp32', 'bf16'))
    embeddings = full.text.sequences([''])
    results = [generator.generate(model, batch, embeddings, [1], 200).images
               for model in (full, half)]
    assert results[1].dtype == torch.float32
    assert_same(results[1], results[0], 0.1)


def test_several_strengths_are_drawn_by_the_seed():
    generator = MODELS.build(dict(type='PartialNoiseGenerator', T=[5, 250, 500]))
    drawn = [generator.strength(seed) for seed in range(60)]
    assert set(drawn) == {5, 250, 500} and drawn == [generator.strength(s) for s in range(60)]
    assert generator.steps_for(5) == 5 and generator.steps_for(250) == 10


@pytest.mark.parametrize('options, message', [
    (dict(T=1000), r'T = 1000 is out of range.*between 1 and 999'),
    (dict(T=0), 'T = 0 is out of range'),
    (dict(T=[200, 1200]), 'T = 1200 is out of range'),
    (dict(T=0.6), r'T = \[0.6\] must be a whole number, or a list'),
    (dict(T=[]), r'T = \[\] must be a whole number'),
    (dict(T=20, steps=21), 'steps = 21 is out of range'),
    (dict(steps=2.5), r'steps = \[2.5\] must be a whole number'),
    (dict(solver='euler'), "solver must be one of .*'euler'"),
])
def test_bad_settings_are_told_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        PartialNoiseGenerator(**options)
