"""Control branches that are trained, read by diffusers and by the creation."""

import cv2
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file

from diff2in1_mm.diffusion.control import ControlBranch
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.pretraining.control_trainer import ControlTrainer
from diff2in1_mm.pretraining.kept_latents import LabelledLatents

from ..family_models import save
from ..small_models import assert_same
from .small_parts import photos


def pictures():
    return (photos().float() * 0.7).byte()


@pytest.fixture(params=['sd', 'xl'])
def source(request, start, tmp_path):
    return start if request.param == 'sd' else save('xl', tmp_path / 'xl')


def test_it_begins_as_nothing_and_is_read_as_it_was_trained(source, tmp_path):
    trainer, plain = ControlTrainer(source, seed=1), load_diffusion(source)
    size = 2 * plain.stride
    images, shown = (torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8) for _ in range(2))
    assert all(name.startswith('control.') for name in trainer.state_dict())
    latents, told = trainer.model.encode(images / 127.5 - 1), plain.text.embed([''])
    with torch.no_grad(), trainer._following(shown):
        untrained = trainer.model.predict(latents, [300, 700], told)[0]
        assert torch.equal(untrained, plain.predict(latents, [300, 700], told)[0])
    optimizer = torch.optim.SGD(trainer.parameters(), 1.0)
    before = {name: weight.clone() for name, weight in trainer.pretrained.unet.state_dict().items()}
    for _ in range(3):  # what begins at zero counts from one step to the next, and the picture's own layers at last
        optimizer.zero_grad()
        trainer(inputs=images, pictures=shown)['loss_denoising'].backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in trainer.parameters())
    assert trainer.control.controlnet_cond_embedding.conv_in.weight.grad.any()
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.pretrained.unet.state_dict().items())
    for _ in range(2):  # the second time another one is there
        trainer.save_result(str(tmp_path / 'control'))
    assert ControlNetModel.from_pretrained(tmp_path / 'control').config.in_channels == latents.shape[1]
    branch = ControlBranch.from_pretrained(str(tmp_path / 'control'), torch.float32)
    branch.check_fits(plain.unet, plain.latent_stride, source)
    with torch.no_grad():
        with trainer._following(shown):
            trained = trainer.model.predict(latents, [300, 700], told)[0]
        with plain.controlled(branch, shown / 255):
            read = plain.predict(latents, [300, 700], told)[0]
    assert_same(read, trained, 1e-5)
    assert (trained - untrained).abs().max() > 1e-4 * untrained.abs().max()


def test_kept_latents_come_with_their_maps_mirrored_as_they_are(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'maps').mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), np.zeros((8, 8, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'maps/{i}.png'), np.repeat([[0] * 4 + [1] * 4], 8, 0).astype(np.uint8))
    images = dict(path='images', size=(8, 8), maps='maps', palette=[[1, 2, 3], [4, 5, 6]], data_root=str(tmp_path))
    save_file(dict(latents=torch.zeros(4, 1, 2, 2), index=torch.tensor([0, 0, 1, 1])), tmp_path / 'latents.safetensors')
    data = LabelledLatents(str(tmp_path / 'latents.safetensors'), ['a', 'b'], images)
    left = [sample['pictures'][:, 0, 0].tolist() for sample in data]
    assert left == [[1, 2, 3], [4, 5, 6]] * 2 and [sample['caption'] for sample in data] == ['a', 'a', 'b', 'b']


def test_half_precision_and_checkpointing(start, tmp_path):
    trainer = ControlTrainer(start, dtype='bf16', gradient_checkpointing=True, sample_strengths=(100,))
    trainer(inputs=photos(), pictures=pictures(), caption=['a car', ''])['loss_denoising'].backward()
    assert {p.dtype for p in trainer.parameters()} == {torch.float32}
    rows = trainer.sample_rows(photos(), seed=0, pictures=pictures())
    assert list(rows) == ['label map', 'original', 'decoded', 'T = 100']
    assert all(row.shape == (2, 3, 32, 48) for row in rows.values())
    trainer.save_result(str(tmp_path / 'control'), 'fp16')
    assert {p.dtype for p in trainer.parameters()} == {torch.float32}
    half = ControlNetModel.from_pretrained(tmp_path / 'control', torch_dtype=torch.float16)
    assert half.dtype == torch.float16


def test_what_cannot_follow_pictures_is_told(start, tmp_path):
    for family in ('sd3', 'ddpm', 'ldm'):
        with pytest.raises(ValueError, match='is a .* model, but a control branch is trained beside U-Nets with text'):
            ControlTrainer.load(save(family, tmp_path / family))
    model = ControlTrainer.load(start)
    for widths in ([8, 8], 8, [8, 16, 'x'], [0, 8, 16]):
        with pytest.raises(ValueError, match='denoiser.model.widths'):
            ControlTrainer.check_options(model, dict(widths=widths))
    ControlTrainer.check_options(model, dict(widths=[8, 8, 16]))
    pipeline = StableDiffusionPipeline.from_pretrained(start)
    pipeline.register_modules(unet=UNet2DConditionModel.from_config(pipeline.unet.config, mid_block_type=None))
    pipeline.save_pretrained(tmp_path / 'distilled')
    with pytest.raises(ValueError, match='has no middle block'):
        ControlTrainer.load(str(tmp_path / 'distilled'))
