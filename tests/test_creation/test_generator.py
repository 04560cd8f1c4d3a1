"""The partial-noise generator against plain diffusers code, and alone against in a batch."""

import pytest
import torch
from diffusers import DDIMScheduler
from mmengine.registry import MODELS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation.generator import PartialNoiseGenerator, known_to
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.schedules import partial_noise_schedule

from ..small_models import assert_same

SEEDS = [11, 2**62 + 5, 13]


def images(height=33, width=48, count=3):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.fixture
def prompt(diffusion):
    return diffusion.text.embed(['a street'])


def plain_loop(pipe, image, embedding, seed, posterior):
    """The released data_creation.py at T = 600, in plain diffusers calls."""
    padded = torch.nn.functional.pad(image, (0, -image.shape[3] % 16, 0, -image.shape[2] % 16), mode='replicate')
    generator = torch.Generator().manual_seed(seed)
    distribution = pipe.vae.encode(padded).latent_dist
    latents = 0.5 * (distribution.sample(generator) if posterior else distribution.mean)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule='scaled_linear',
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing='leading',
    )
    scheduler.set_timesteps(83)
    latents = scheduler.add_noise(latents, noise, torch.tensor([600]))
    for timestep in scheduler.timesteps[-50:]:
        output = pipe.unet(latents, timestep, embedding).sample
        latents = scheduler.step(output, timestep, latents).prev_sample
    decoded = pipe.vae.decode(latents / 0.5).sample
    return decoded[..., : image.shape[2], : image.shape[3]].clamp(-1, 1)


@pytest.mark.parametrize('posterior', [False, True])
@torch.no_grad()
def test_ddim_equals_the_released_sampler(diffusion, pipeline, prompt, posterior):
    generator = PartialNoiseGenerator(T=600, solver='ddim', sample_posterior=posterior)
    assert generator.steps_for(600) == 50
    batch = images(count=2)
    made = generator.generate(diffusion, batch, prompt, SEEDS[:2], 600).images
    expected = torch.cat(
        [plain_loop(pipeline, batch[i : i + 1], prompt.sequence, SEEDS[i], posterior) for i in range(2)]
    )
    assert_same(made, expected)


@pytest.mark.parametrize('options', [dict(), dict(solver='ddim', steps=5, sample_posterior=True)])
def test_a_sample_alone_equals_that_of_a_batch(diffusion, options):
    generator = PartialNoiseGenerator(T=300, **options)
    batch, names = images(), ['mid_block']
    condition = diffusion.text.embed(['a street', 'a tree', ''])
    rows = [Condition(row[None]) for row in condition.sequence]
    whole = generator.generate(diffusion, batch, condition, SEEDS, 300, names)
    assert whole.images.shape == batch.shape and whole.images.abs().max() <= 1
    assert whole.taps['mid_block'].shape[:1] == (3,)
    torch.manual_seed(99)  # the global state plays no part
    for i in (2, 0):
        alone = generator.generate(diffusion, batch[i : i + 1], rows[i], SEEDS[i : i + 1], 300, names)
        assert_same(alone.images[0], whole.images[i], 1e-4)
        assert_same(alone.taps['mid_block'][0], whole.taps['mid_block'][i], 1e-4)
    other = generator.generate(diffusion, batch[:1], rows[0], [12], 300)
    assert (other.images[0] - whole.images[0]).abs().max() > 0.01 and not other.taps


@pytest.mark.parametrize('negative', ['', 'a blurred picture'])
@torch.no_grad()
def test_guidance_is_that_of_diffusers(diffusion, pipeline, negative):
    """Each pass, against the formula in StableDiffusionPipeline, one image at a time."""
    condition = dict(type='Prompt', text='a street')
    generator = PartialNoiseGenerator(
        T=300, steps=4, solver='ddim', condition=condition, guidance_scale=4.0, negative_prompt=negative
    )
    prompt, free = diffusion.text.sequences(['a street', negative])
    batch = images(32, 48, count=2)
    names = ['mid_block']
    made = generator.generate(diffusion, batch, Condition(prompt[None]), SEEDS[:2], 300, names)
    schedule = partial_noise_schedule(diffusion.schedule, 300, 4, 'ddim')
    for i in range(2):
        latents = diffusion.encode(batch[i : i + 1])
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(SEEDS[i]))
        latents = diffusion.add_noise(latents, noise, schedule.start)
        for timestep in schedule.timesteps:
            output = pipeline.unet(torch.cat([latents] * 2), timestep, torch.stack([free, prompt])).sample
            free_output, text_output = output.chunk(2)
            output = free_output + 4.0 * (text_output - free_output)
            maps = diffusion.predict(latents, timestep, Condition(prompt[None]), names)[1]
            latents = schedule.scheduler.step(output, timestep, latents).prev_sample
        assert_same(made.images[i : i + 1], diffusion.decode(latents, (32, 48)), 1e-4)
        assert_same(made.taps['mid_block'][i : i + 1], maps['mid_block'], 1e-4)


def test_guidance_with_another_number_of_tokens(diffusion):
    """As of class names, one token each; the negative prompt has the text encoder's number."""
    guided = PartialNoiseGenerator(T=300, steps=2, guidance_scale=2.0, condition=dict(type='OwnCaption'))
    plain = PartialNoiseGenerator(T=300, steps=2)
    condition = Condition(diffusion.text.sequences(['a street'])[:, :5])
    made = [g.generate(diffusion, images(), condition, SEEDS, 300).images for g in (guided, plain)]
    assert made[0].isfinite().all() and (made[0] - made[1]).abs().max() > 1e-3


def test_pictures_that_are_no_numbers(diffusion, prompt, monkeypatch):
    """As in half precision, where a model's values are too large for it."""
    decode = diffusion.decode
    monkeypatch.setattr(diffusion, 'decode', lambda *a: decode(*a) / torch.tensor(0.0).log().exp())
    with pytest.raises(
        ValueError, match='gives pictures that are not numbers in torch.float32: its weights are damaged'
    ):
        PartialNoiseGenerator(T=300, steps=1).generate(diffusion, images(), prompt, SEEDS, 300)


def test_a_negative_prompt_that_is_too_long(diffusion):
    generator = PartialNoiseGenerator(
        T=300, condition=dict(type='Prompt', text='a street'), guidance_scale=2.0, negative_prompt='blurred ' * 200
    )
    with pytest.raises(ValueError, match='tokens.*; guidance embeds the negative prompt'):
        generator.check_model(diffusion)


def test_taps_are_those_of_the_last_pass(diffusion, prompt, monkeypatch):
    passes = []
    predict = diffusion.predict

    def counted(latents, timestep, condition, taps=()):
        passes.append((timestep, tuple(taps)))
        assert latents.dtype == torch.float32
        return predict(latents, timestep, condition, taps)

    monkeypatch.setattr(diffusion, 'predict', counted)
    generator = PartialNoiseGenerator(T=200, steps=4)
    generator.generate(diffusion, images(count=1), prompt, [1], 200, ['mid_block'])
    assert [t for t, _ in passes] == [200, 134, 67, 1]
    assert [taps for _, taps in passes] == [()] * 3 + [('mid_block',)]
    assert all(type(timestep) is int for timestep, _ in passes)


def test_half_precision_keeps_latents_in_float32(pipeline_folder):
    from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion

    batch, generator = images(count=1), PartialNoiseGenerator(T=200, steps=4)
    full, half = (LatentDiffusion.from_pretrained(pipeline_folder, dtype=dtype) for dtype in ('fp32', 'bf16'))
    condition = full.text.embed([''])
    results = [generator.generate(model, batch, condition, [1], 200).images for model in (full, half)]
    assert results[1].dtype == torch.float32
    assert_same(results[1], results[0], 0.1)


def test_several_strengths_are_drawn_by_the_seed():
    generator = MODELS.build(dict(type='PartialNoiseGenerator', T=[5, 250, 500]))
    drawn = [generator.strength(seed) for seed in range(60)]
    assert set(drawn) == {5, 250, 500} and drawn == [generator.strength(s) for s in range(60)]
    assert generator.steps_for(5) == 5 and generator.steps_for(250) == 10


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(T=1000), r'T = 1000 is out of range.*between 1 and 999'),
        (dict(T=0), 'T = 0 is out of range'),
        (dict(T=[200, 1200]), 'T = 1200 is out of range'),
        (dict(T=0.6), r'T = \[0.6\] must be a whole number, or a list'),
        (dict(T=[]), r'T = \[\] must be a whole number'),
        (dict(T=20, steps=21), 'steps = 21 is out of range'),
        (dict(steps=2.5), r'steps = \[2.5\] must be a whole number'),
        (dict(solver='heun'), "solver must be one of .*'heun'"),
        (dict(guidance_scale=0.5), 'guidance_scale = 0.5 must be a number of at least 1'),
        (dict(guidance_scale=float('nan')), 'guidance_scale = nan must be a number'),
        (dict(guidance_scale='3'), "guidance_scale = '3' must be a number"),
        (dict(guidance_scale=3), 'guidance_scale = 3 changes nothing .*: set condition to what'),
        (
            dict(guidance_scale=3, condition=dict(type='Prompt', text='x'), negative_prompt='x'),
            "negative prompt, 'x': set condition",
        ),
        (dict(negative_prompt='blurred'), "'blurred' has no effect .*: set guidance_scale above 1"),
        (dict(guidance_scale=3, negative_prompt=None), 'negative_prompt = None must be a text'),
    ],
)
def test_bad_settings_are_told_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        PartialNoiseGenerator(**options)


@pytest.mark.parametrize('posterior', [False, True])
def test_images_that_are_alike_are_encoded_once(diffusion, prompt, monkeypatch, posterior):
    generator = PartialNoiseGenerator(T=300, steps=2, sample_posterior=posterior)
    first, second = images(count=2)
    batch, seeds = torch.stack([first, second, first, first]), [*SEEDS, 14]
    apart = generator.generate(diffusion, batch, prompt, seeds, 300).images
    encoded = []
    real = diffusion.vae.encode
    monkeypatch.setattr(diffusion.vae, 'encode', lambda x, **rest: (encoded.append(len(x)), real(x, **rest))[1])
    together = generator.generate(diffusion, batch, prompt, seeds, 300, alike=[0, 1, 0, 0]).images
    assert encoded == [2]
    assert_same(together, apart)
    assert (together[0] - together[2]).abs().max() > 0.01  # each with noise of its own


def test_a_generator_of_ones_own_is_given_what_it_takes():
    class Plain(PartialNoiseGenerator):
        def generate(self, diffusion, images, condition, seeds, T, taps=()):
            return super().generate(diffusion, images, condition, seeds, T, taps)

    assert known_to(Plain(T=300), alike=[0, 0]) == {} and known_to(PartialNoiseGenerator(T=300), alike=[0, 0])
