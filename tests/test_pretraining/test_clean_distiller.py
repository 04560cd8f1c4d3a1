"""A U-Net that learns to give clean images the features of noised ones."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.pretraining.clean_distiller import CleanDistiller

from ..family_models import save
from .small_parts import CAPTIONS, photos


def test_the_loss_falls_and_the_result_has_features_of_its_own(start, tmp_path):
    torch.manual_seed(0)
    trainer = CleanDistiller(start, caption_dropout=0.0)
    before = copy.deepcopy(trainer.pretrained.denoiser.state_dict())
    optimizer = torch.optim.Adam(trainer.parameters(), 3e-3)
    latents, losses = torch.randn(2, 4, 8, 8), []
    for _ in range(12):
        loss = trainer(latents=latents, caption=CAPTIONS)['loss_distil']
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in trainer.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    # the teacher is what it was, and the heads are thrown away
    assert all(torch.equal(value, before[name]) for name, value in trainer.pretrained.denoiser.state_dict().items())
    trainer.save_result(str(tmp_path / 'unet'))
    saved = load_file(tmp_path / 'unet' / 'diffusion_pytorch_model.safetensors')
    assert saved.keys() == before.keys()
    plain, clean = load_diffusion(start), load_diffusion(start, unet=str(tmp_path / 'unet'))
    taps = [tap.name for tap in plain.taps() if tap.role == 'decoder']
    told = plain.text.embed([''])
    maps = [model.predict(latents, 1, told, taps)[1] for model in (plain, clean)]
    assert all(not torch.allclose(maps[0][name], maps[1][name], rtol=1e-2) for name in taps)
    # what no matched map depends on stays
    assert torch.equal(saved['conv_out.weight'], before['conv_out.weight'])


def test_at_first_heads_change_nothing(start):
    trainer = CleanDistiller(start, levels_per_image=2)
    logged = trainer(inputs=photos())
    assert abs(logged['loss_distil'] + logged['similarity'] - 1) < 1e-6


def test_each_image_is_noised_to_every_part_of_the_schedule(start, monkeypatch):
    trainer, seen = CleanDistiller(start, timestep=7, levels_per_image=4), []
    for model in (trainer.model, trainer.pretrained):

        def predict(latents, level, *told, run=model.predict):
            seen.append((latents, level))
            return run(latents, level, *told)

        monkeypatch.setattr(model, 'predict', predict)
    latents = torch.randn(2, 4, 8, 8)
    trainer(latents=latents)
    (clean, told), (noised, levels) = seen
    assert told == 7 and torch.equal(clean, latents)
    assert [level // 250 for level in levels] == [0, 0, 1, 1, 2, 2, 3, 3]  # rows are those of both images in turn
    abar = trainer.model.scheduler.alphas_cumprod[levels].view(-1, 1, 1, 1)
    noise = (noised - latents.repeat(4, 1, 1, 1) * abar**0.5) / (1 - abar) ** 0.5
    assert ((noise.flatten(1).std(1) - 1).abs() < 0.2).all() and not torch.equal(noise[0], noise[1])


def test_half_precision_of_what_is_frozen(start, tmp_path):
    trainer = CleanDistiller(start, dtype='bf16', taps=['mid_block'], gradient_checkpointing=True)
    with pytest.raises(ValueError, match='is not averaged: take the EMAHook out of denoiser.custom_hooks'):
        copy.deepcopy(trainer)
    assert trainer.pretrained.dtype == torch.bfloat16 and trainer.model.dtype == torch.float32
    trainer(latents=torch.randn(2, 4, 8, 8))['loss_distil'].backward()
    trainer.save_result(str(tmp_path / 'unet'), 'fp16')
    assert load_file(tmp_path / 'unet' / 'diffusion_pytorch_model.safetensors')['conv_in.weight'].dtype == torch.float16
    assert next(trainer.parameters()).dtype == torch.float32  # training goes on unharmed


def test_bad_settings_and_other_families_are_named(start, tmp_path):
    for options, words in (
        (dict(dtype='fp16'), 'denoiser.model.dtype must be one of'),
        (dict(timestep=1000), 'denoiser.model.timestep = 1000 is out of range'),
        (dict(levels_per_image=0), 'levels_per_image = 0 must be a whole number'),
        (dict(taps='none'), "taps must be 'decoder', 'all' or a list of names"),
    ):
        with pytest.raises(ValueError, match=words):
            CleanDistiller(start, **options)
    with pytest.raises(ValueError, match='is a PixArt model, but clean features are distilled of Stable Diffusion'):
        CleanDistiller.load(save('pixart', tmp_path))
