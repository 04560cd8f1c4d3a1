"""Models that would be taken for Stable Diffusion, and compute otherwise."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from diff2in1_mm.diffusion.families import check_source, load_diffusion

from ..small_models import write_json


@pytest.fixture
def folder(pipeline_folder, tmp_path):
    return shutil.copytree(pipeline_folder, tmp_path / 'model')


@pytest.mark.parametrize(
    'file, change, words',
    [
        ('scheduler/scheduler_config', dict(_class_name='FlowMatchEulerDiscreteScheduler'), r'levels \(FlowMatchEuler'),
        ('scheduler/scheduler_config', dict(_class_name='EDMEulerScheduler'), r'levels \(EDMEulerScheduler\)'),
        ('scheduler/scheduler_config', dict(use_flow_sigmas=True), r'levels \(use_flow_sigmas\)'),
        ('vae/config', dict(shift_factor=0.1), r'shifts its latents \(shift_factor\)'),
        ('vae/config', dict(latents_mean=[0.0] * 4, latents_std=[1.0] * 4), r'\(latents_mean, latents_std\)'),
        ('vae/config', dict(_class_name='AutoencoderTiny'), 'is an AutoencoderTiny'),
        ('unet/config', dict(time_cond_proj_dim=256), 'a latent consistency model'),
    ],
)
def test_another_kind_is_named_by_its_config(folder, file, change, words):
    path = folder / f'{file}.json'
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(ValueError, match=words):
        load_diffusion(str(folder))


def test_a_unet_that_was_saved_with_lora(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    name = next(key for key in weights if key.endswith('attn2.to_q.weight'))
    weights[name.replace('.weight', '.base_layer.weight')] = weights.pop(name)
    weights[name.replace('.weight', '.lora_A.default.weight')] = weights['conv_in.weight'].flatten()[:16].clone()
    save_file(weights, path, metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='the unet of .* was saved with LoRA layers .*fuse_lora'):
        load_diffusion(str(folder))


def test_files_of_a_variant_alone(folder):
    for path in folder.rglob('*.safetensors'):
        path.rename(path.with_suffix('.fp16.safetensors'))
    for look in (load_diffusion, check_source):
        with pytest.raises(ValueError, match="variant 'fp16' only: set variant='fp16'"):
            look(str(folder))
    load_diffusion(str(folder), variant='fp16')
