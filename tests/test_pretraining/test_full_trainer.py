"""Denoisers of any family trained wholly, and read again by diffusers and here."""

import json
import os

import pytest
import torch
from diffusers import DiffusionPipeline

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.pretraining import denoiser_tuner
from diff2in1_mm.pretraining.full_trainer import FullTrainer

from ..family_models import save
from ..small_models import assert_same, save_tiny_pipeline


@pytest.mark.parametrize('family', ['sd', 'sd3', 'pixart', 'ddpm'])
def test_it_is_trained_and_read_by_diffusers_as_here(family, tmp_path):
    source = save_tiny_pipeline(tmp_path / 'model') if family == 'sd' else save(family, tmp_path / 'model')
    trainer = FullTrainer(source, seed=1)
    plain = load_diffusion(source)
    latents = plain.encode(torch.rand(2, 3, 2 * plain.stride, plain.stride) * 2 - 1)
    optimizer = torch.optim.SGD(trainer.parameters(), 0.1)
    trainer(latents=latents)['loss_denoising'].backward()
    optimizer.step()
    folder = tmp_path / 'trained'
    for _ in range(2):  # the second time another one is there
        trainer.save_result(str(folder))
    ours = load_diffusion(str(folder))
    pipeline = DiffusionPipeline.from_pretrained(folder)
    theirs = plain.with_denoiser(getattr(pipeline, plain.denoiser_name).eval())
    told = plain.text.embed([''])
    with torch.no_grad():
        found = [model.predict(latents, [300, 700], told)[0] for model in (trainer.model, ours, theirs)]
    without = plain.predict(latents, [300, 700], told)[0]
    assert (found[0] - without).abs().max() > 1e-3 * without.abs().max()
    for output in found[1:]:
        assert_same(output, found[0], 1e-5)
    assert sorted(json.loads((folder / 'model_index.json').read_text())) == sorted(
        json.loads((tmp_path / 'model' / 'model_index.json').read_text())
    )
    if plain.vae is not None:  # one file under two names
        weights = 'vae/diffusion_pytorch_model.safetensors'
        assert os.path.samefile(folder / weights, tmp_path / 'model' / weights)
        assert not os.path.samefile(folder / 'vae/config.json', tmp_path / 'model/vae/config.json')


def test_half_precision_on_disk_changes_nothing_in_memory(start, tmp_path):
    trainer = FullTrainer(start)
    trainer.save_result(str(tmp_path / 'half'), 'fp16')
    assert {p.dtype for p in trainer.parameters()} == {torch.float32}
    size = os.path.getsize(tmp_path / 'half' / 'unet' / 'diffusion_pytorch_model.safetensors')
    assert size < 3 * sum(p.numel() for p in trainer.parameters())


def test_the_first_weights_stay_where_they_are(start, monkeypatch):
    """'meta' stands for a GPU."""
    loaded = []
    monkeypatch.setattr(
        denoiser_tuner,
        'load_diffusion',
        lambda *told, **more: loaded.append(load_diffusion(*told, **more)) or loaded[0],
    )
    trainer = FullTrainer(start).to('meta')
    assert trainer.model.device.type == trainer.model.image_device.type == 'meta'
    assert loaded[0].device.type == 'cpu'


def test_the_embedded_model_is_taken_without_what_is_not_of_diffusers(tmp_path):
    FullTrainer('diff2in1_mm/rooms').save_result(str(tmp_path / 'rooms'))
    assert sorted(os.listdir(tmp_path / 'rooms')) == [
        'model_index.json', 'scheduler', 'text_encoder', 'tokenizer', 'unet', 'vae'
    ]  # fmt: skip


def test_a_single_file_is_refused(tmp_path):
    (tmp_path / 'model.safetensors').touch()
    with pytest.raises(ValueError, match='is a single file, and the result is a folder'):
        FullTrainer(str(tmp_path / 'model.safetensors'))
