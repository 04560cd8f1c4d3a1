import copy

import pytest
import torch
import torch.nn.functional as F

from diff2in1_mm.diffusion import latent_model
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.contract import same_weights
from diff2in1_mm.diffusion.loading.source import load_parts
from diff2in1_mm.diffusion.padding import crop_to_stride, pad_to_stride
from diff2in1_mm.diffusion.schedules import SOLVERS, partial_noise_schedule
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.utils.randomness import seeded_generators

from ..small_models import assert_same, save_tiny_pipeline


def images(height, width, count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


def test_strides_follow_the_configs(diffusion):
    assert (diffusion.latent_stride, diffusion.stride) == (4, 16)
    assert diffusion.context_dim == 16


@pytest.mark.parametrize('size', [(32, 48), (33, 49), (17, 3)])
def test_encode_equals_the_plain_vae_on_the_padded_image(diffusion, pipeline, size):
    image = images(*size)
    bottom, right = -size[0] % 16, -size[1] % 16
    padded = F.pad(image, (0, right, 0, bottom), mode='replicate')
    with torch.no_grad():
        expected = pipeline.vae.encode(padded).latent_dist.mean * 0.5
    assert_same(diffusion.encode(image), expected)
    assert_same(diffusion.encode(image, scaled=False), expected / 0.5)
    assert diffusion.decode(diffusion.encode(image), size).shape == image.shape


def test_posterior_samples_depend_on_their_own_generator_alone(diffusion):
    batch = images(32, 32, 3)
    together = diffusion.encode(batch, seeded_generators(7, samples=[0, 1, 2]))
    alone = diffusion.encode(batch[1:2], seeded_generators(7, samples=[1]))
    assert_same(together[1:2], alone)
    assert not torch.allclose(together[1:2], diffusion.encode(batch[1:2]), atol=1e-4)


def test_prediction_and_noise_equal_plain_diffusers(diffusion, pipeline):
    latents, noise = torch.randn(2, 2, 4, 8, 8).unbind()
    noised = diffusion.add_noise(latents, noise, 300)
    expected = pipeline.scheduler.add_noise(latents, noise, torch.tensor([300, 300]))
    torch.testing.assert_close(noised, expected)
    embeddings = torch.randn(1, 24, 16)
    with torch.no_grad():
        plain = pipeline.unet(noised, 300, embeddings.expand(2, -1, -1)).sample
    output, maps = diffusion.predict(noised, 300, Condition(embeddings), taps=['mid_block'])
    assert_same(output, plain)
    assert maps['mid_block'].shape == (2, 32, 2, 2)


@pytest.mark.parametrize('T', [400, 600, 999])
@pytest.mark.parametrize('solver', SOLVERS)
def test_images_are_denoised_with_the_schedule_that_they_were_noised_with(pipeline_folder, solver, T):
    parts = load_parts(pipeline_folder, torch.float32, 'v_prediction')
    model = LatentDiffusion(parts._replace(schedule={**parts.schedule, 'rescale_betas_zero_snr': True}))
    plan = partial_noise_schedule(model.schedule, T, 20, solver)
    clean, noise = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64).unbind()
    for step in plan.timesteps:
        abar = float(plan.scheduler.alphas_cumprod[step])
        torch.testing.assert_close(
            model.add_noise(clean, noise, step), clean * abar**0.5 + noise * (1 - abar) ** 0.5, rtol=0, atol=2e-3
        )  # diffusers keeps 2^-24 of the last signal

    # A perfect denoiser, which sees only the noised latents, gives them back.
    latents = model.add_noise(clean, noise, plan.timesteps[0])
    alphas = model.scheduler.alphas_cumprod.double()
    for step in plan.timesteps:
        signal, sigma = alphas[step] ** 0.5, (1 - alphas[step]) ** 0.5
        eps = (latents - signal * clean) / sigma
        latents = plan.scheduler.step(signal * eps - sigma * clean, step, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, clean, rtol=0, atol=0.2 if solver == 'ddim' else 5e-3)


@pytest.mark.parametrize('solver', SOLVERS)
def test_what_a_scheduler_config_leaves_out_is_the_same_for_every_solver(pipeline_folder, solver):
    parts = load_parts(pipeline_folder, torch.float32)
    model = LatentDiffusion(parts._replace(schedule={'_class_name': 'DDIMScheduler'}))
    assert model.schedule['num_train_timesteps'] == model.num_train_timesteps == 1000
    plan = partial_noise_schedule(model.schedule, 400, 10, solver)
    assert torch.equal(plan.scheduler.alphas_cumprod, model.scheduler.alphas_cumprod)


def test_a_deep_copy_is_the_model_itself(diffusion):
    assert copy.deepcopy([diffusion])[0] is diffusion


def test_frozen_means_frozen(diffusion):
    diffusion.train()
    assert not any(module.training for module in diffusion.modules())
    assert not any(parameter.requires_grad for parameter in diffusion.parameters())
    assert not diffusion.encode(images(16, 16).requires_grad_()).requires_grad


def test_the_fingerprint_survives_another_dtype_and_tells_weights_apart(pipeline_folder, tmp_path):
    full = LatentDiffusion.from_pretrained(pipeline_folder)
    half = LatentDiffusion.from_pretrained(pipeline_folder, dtype='bf16')
    other = LatentDiffusion.from_pretrained(save_tiny_pipeline(tmp_path / 'other', seed=1))
    assert half.dtype == torch.bfloat16
    assert same_weights(full.fingerprint(), half.fingerprint())
    assert not same_weights(full.fingerprint(), other.fingerprint())
    assert full.digest() != other.digest()
    assert same_weights(full.fingerprint(), full.half().fingerprint())


def test_the_fingerprint_tells_adapted_weights_apart(diffusion):
    before = diffusion.fingerprint()
    weight = diffusion.unet.mid_block.resnets[0].conv1.weight
    with torch.no_grad():
        weight += 0.02 * weight.std() * torch.randn_like(weight)
    assert not same_weights(before, diffusion.fingerprint())


def test_the_text_encoder_leaves_memory_and_texts_are_encoded_once(diffusion, pipeline):
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder.eval()
    ids = tokenizer(['a car'], padding='max_length', return_tensors='pt').input_ids
    with torch.no_grad():
        expected = encoder(ids)[0]
    assert_same(diffusion.text.sequences(['a car']), expected)
    assert not diffusion.text.in_memory
    loads, load = [], diffusion.text._load
    diffusion.text._load = lambda: loads.append(1) or load()
    diffusion.text.sequences(['a car', 'a car'])
    assert not loads
    diffusion.text.sequences(['', 'a car', 'a tree'])
    assert len(loads) == 1


def test_texts_are_encoded_on_the_accelerator_while_the_model_is_not_there_yet(diffusion, monkeypatch):
    asked = []
    monkeypatch.setattr(latent_model, 'get_device', lambda: asked.append(1) or 'cpu')
    diffusion.text.sequences(['a car'])
    diffusion.text.averaged([['a tree']])
    assert len(asked) == 2
    monkeypatch.setattr(latent_model, 'get_device', lambda: 'cuda')
    assert diffusion.text_device() == torch.device('cuda')
    diffusion.to('meta')  # a model that has been moved decides itself
    assert diffusion.text_device() == torch.device('meta')


def test_too_long_a_prompt_is_named(diffusion):
    with pytest.raises(ValueError, match='has 42 tokens, but the text encoder takes 24: shorten'):
        diffusion.text.sequences(['a' * 40])


@pytest.mark.parametrize('stride', [1, 8, 64])
def test_padding_and_cropping_are_inverse(stride):
    image = images(50, 37)
    padded = pad_to_stride(image, stride)
    assert padded.shape[-2] % stride == padded.shape[-1] % stride == 0
    torch.testing.assert_close(crop_to_stride(padded, (50, 37), 1), image)
    assert torch.equal(padded[..., -1, -1], image[..., -1, -1])
