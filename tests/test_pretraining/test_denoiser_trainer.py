"""The trainer of the denoiser."""

import os

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from mmengine.logging import MessageHub

from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.pretraining import denoiser_trainer
from diff2in1_mm.pretraining.denoiser_trainer import DenoiserTrainer

from .small_parts import CAPTIONS, photos


@pytest.mark.parametrize('prediction', ['epsilon', 'v_prediction'])
def test_perfect_prediction_has_no_loss(start, monkeypatch, prediction):
    trainer = DenoiserTrainer(start)
    schedule = DDPMScheduler.from_config(trainer.noise_schedule.config, prediction_type=prediction)
    trainer.noise_schedule = schedule
    latents = torch.randn(3, 4, 8, 8)
    seen = {}

    def add_noise(x, noise, t):
        seen.update(noise=noise, t=t)
        return DDPMScheduler.add_noise(schedule, x, noise, t)

    def unet(noised, t, embeddings):
        abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (noised - abar.sqrt() * latents) / (1 - abar).sqrt()
        v = abar.sqrt() * noise - (1 - abar).sqrt() * latents
        return type('Output', (), dict(sample=noise if prediction == 'epsilon' else v))

    monkeypatch.setattr(schedule, 'add_noise', add_noise)
    monkeypatch.setattr(trainer.unet, 'forward', unet)
    assert trainer(latents=latents, mode='loss')['loss_denoising'] < 1e-6


def test_losses_of_the_two_halves_of_the_schedule():
    error = torch.tensor([1.0, 2.0, 6.0])
    losses = DenoiserTrainer._losses(error, torch.tensor([True, False, False]))
    assert losses == dict(loss_denoising=3.0, low_noise=1.0, high_noise=4.0)
    assert list(DenoiserTrainer._losses(error, torch.ones(3, dtype=torch.bool))) == ['loss_denoising']


def test_only_trained_parts_are_in_the_state(start):
    frozen = DenoiserTrainer(start)
    assert all(key.startswith('unet.') for key in frozen.state_dict())
    joint = DenoiserTrainer(start, train_text_encoder=True)
    assert {key.split('.')[0] for key in joint.state_dict()} == {'unet', 'text_encoder'}
    joint(latents=torch.randn(2, 4, 8, 8), caption=CAPTIONS)['loss_denoising'].backward()
    assert all(p.grad is not None for p in joint.parameters())


def test_latent_crops_until_an_iteration(start, monkeypatch):
    trainer = DenoiserTrainer(start, latent_crop=(4, 8), latent_crop_iters=5, crop_batch_repeat=2)
    shapes = []
    monkeypatch.setattr(
        trainer.unet,
        'forward',
        lambda x, t, e: shapes.append((x.shape, e.shape[0])) or type('Output', (), dict(sample=x)),
    )
    for iteration in (4, 5):
        MessageHub.get_current_instance().update_info('iter', iteration)
        trainer(latents=torch.randn(3, 4, 8, 12), caption=['a', 'b', 'c'])
    assert shapes == [((6, 4, 4, 8), 6), ((3, 4, 8, 12), 3)]


def test_kept_texts_have_a_bound(start, monkeypatch):
    monkeypatch.setattr(denoiser_trainer, '_KEPT_EMBEDDINGS', 2)
    trainer = DenoiserTrainer(start)
    first = trainer.embed(['a', 'b', 'c'])
    assert len(trainer.frozen.embeddings) == 2
    torch.testing.assert_close(trainer.embed(['c', 'a']), first[[2, 0]])


def test_captions_are_dropped_at_the_given_rate(start, monkeypatch):
    trainer = DenoiserTrainer(start, caption_dropout=0.5)
    seen = []
    monkeypatch.setattr(trainer, 'embed', lambda texts: seen.extend(texts) or torch.zeros(len(texts), 16, 16))
    trainer(latents=torch.randn(64, 4, 8, 8), caption=['a car'] * 64)
    assert set(seen) == {'', 'a car'} and 15 < seen.count('') < 49


def test_both_kinds_of_attention_train_alike(start):
    gradients = []
    for fused in (True, False):
        trainer = DenoiserTrainer(start, fused_attention=fused)
        kinds = {type(p).__name__ for p in trainer.unet.attn_processors.values()}
        assert kinds == {'AttnProcessor2_0' if fused else 'AttnProcessor'}
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        trainer(latents=latents, caption=CAPTIONS)['loss_denoising'].backward()
        gradients.append([p.grad for p in trainer.unet.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_texts_are_tokenized_once(start, monkeypatch):
    trainer = DenoiserTrainer(start, train_text_encoder=True, caption_dropout=0.0)
    read, tokenizer = [], trainer.frozen.tokenizer
    monkeypatch.setattr(
        trainer.frozen, 'tokenizer', lambda texts, **options: read.extend(texts) or tokenizer(texts, **options)
    )
    first = trainer.embed([*CAPTIONS, CAPTIONS[0]])
    torch.testing.assert_close(trainer.embed(CAPTIONS[::-1]), first[[1, 2]])
    assert read == CAPTIONS


def test_images_instead_of_latents(start):
    trainer = DenoiserTrainer(start)
    loss = trainer(inputs=photos())
    same = trainer(latents=trainer.encode(photos().float() / 127.5 - 1))
    assert torch.allclose(loss['loss_denoising'], same['loss_denoising'])


def test_sample_rows_and_saved_pipeline(start, tmp_path):
    trainer = DenoiserTrainer(start, sample_strengths=(100,), sample_steps=3).eval()
    rows = trainer.sample_rows(photos(), seed=0)
    assert list(rows) == ['original', 'decoded', 'T = 100', 'pure noise']
    assert all(row.shape == (2, 3, 32, 48) for row in rows.values())
    again = trainer.sample_rows(photos(), seed=0)
    assert torch.equal(rows['pure noise'], again['pure noise'])
    out = str(tmp_path / 'out')
    trainer.save_result(out, 'fp16')
    assert next(trainer.unet.parameters()).dtype == torch.float32  # training goes on unharmed
    loaded = StableDiffusionPipeline.from_pretrained(out, dtype=torch.float32)
    assert loaded('a street', num_inference_steps=2, height=32, width=48, output_type='np').images.shape == (
        1,
        32,
        48,
        3,
    )
    assert LatentDiffusion.from_pretrained(out).stride == 16


def test_unknown_prediction_is_refused(start):
    path = os.path.join(start, 'scheduler', 'scheduler_config.json')
    with open(path, encoding='utf-8') as file:
        text = file.read()
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text.replace('v_prediction', 'sample'))
    with pytest.raises(ValueError, match='only epsilon and v_prediction'):
        DenoiserTrainer(start)
