"""tools/train_diffusion.py where the denoiser of a pretrained model is tuned."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.utils.compat import load_weights_only

from ..family_models import save
from ..small_models import save_tiny_pipeline
from .test_train_diffusion import ROOT, stop_after, train


def write_config(place, name: str, **told) -> None:
    """One of ours, short."""
    (place / 'config.py').write_text(
        f'_base_ = [{str(ROOT / "configs" / name)!r}]\n'
        "images = dict(path='photos', size=(32, 48))\n"
        'default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))\n'
        f'denoiser = dict(model={told!r}, train_dataloader=dict(batch_size=2, num_workers=0, persistent_workers=False),'
        ' train_cfg=dict(max_iters=4))\n'
    )


def test_clean_features_are_distilled_and_a_broken_run_gives_the_same(place, monkeypatch):
    pretrained = save_tiny_pipeline(place / 'tiny')
    write_config(place, 'diffusion_distil_clean.py', gradient_checkpointing=False, levels_per_image=1)
    options = [f'pretrained={pretrained}']
    assert train(place, options=options) is None
    work, weights = place / 'work', Path('unet', 'diffusion_pytorch_model.safetensors')
    unbroken = load_file(work / weights)
    assert sorted(os.listdir(work)) == ['denoiser', 'finished.json', 'latents.safetensors', 'unet']
    before, after = load_diffusion(pretrained), load_diffusion(pretrained, unet=str(work / 'unet'))
    changed = {
        name for name, weight in before.unet.state_dict().items() if not weight.equal(after.unet.state_dict()[name])
    }
    assert changed and not any(name.startswith('conv_out') for name in changed)
    assert 'holds a trained model (unet)' in train(place, options=options)
    work.rename(place / 'unbroken')
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        stop_after(patch, 'denoiser', 3)
        train(place, options=options)
    assert train(place, '--resume', options=options) is None
    resumed = load_file(work / weights)
    assert all(weight.allclose(resumed[name], atol=1e-6) for name, weight in unbroken.items())


def test_lora_of_a_flow_model(place):
    pytest.importorskip('peft')
    pretrained, work = save('sd3', place / 'sd3'), place / 'work'
    write_config(place, 'diffusion_lora.py', sample_strengths=[200])
    assert train(place, options=[f'pretrained={pretrained}', 'images.captions=captions.json']) is None
    weights = load_file(work / 'lora' / 'pytorch_lora_weights.safetensors')
    assert all(weight.any() for name, weight in weights.items() if '.lora_B.' in name)
    assert load_diffusion(pretrained, lora=str(work / 'lora')).digest() != load_diffusion(pretrained).digest()
    assert (work / 'denoiser' / 'samples' / 'iter_4.png').is_file()
    state = load_weights_only(work / 'denoiser' / 'iter_4.pth')['state_dict']
    assert len(state) == len(weights) and all('.lora_' in name for name in state)


def test_all_weights_of_a_flow_model(place):
    pretrained, work = save('sd3', place / 'sd3'), place / 'work'
    write_config(place, 'diffusion_full.py', gradient_checkpointing=False)
    assert train(place, options=[f'pretrained={pretrained}']) is None
    assert load_diffusion(str(work / 'pipeline')).digest() != load_diffusion(pretrained).digest()
    assert 'holds a trained model (pipeline)' in train(place, options=[f'pretrained={pretrained}'])


def write_labelled(place) -> list[str]:
    """Label maps for five of the photographs and a config that learns from them; what it needs to be told."""
    (place / 'maps').mkdir()
    labels = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60) % 3
    for i in range(5):  # one photograph has no map
        cv2.imwrite(str(place / f'maps/{i}.png'), labels)
    write_config(place, 'diffusion_control.py', gradient_checkpointing=False, dtype='fp32', sample_strengths=[900])
    return ['images.maps=maps', 'images.palette=[[255,0,0],[0,255,0],[0,0,255]]']


def test_a_control_branch_and_a_broken_run_gives_the_same(place, monkeypatch):
    pretrained, work = save_tiny_pipeline(place / 'tiny'), place / 'work'
    labelled = write_labelled(place)
    options = [f'pretrained={pretrained}', *labelled]
    assert 'set images.maps to the folder of their label maps' in train(place, options=options[:1])
    assert train(place, options=options) is None
    weights = Path('control', 'diffusion_pytorch_model.safetensors')
    unbroken = load_file(work / weights)
    assert all(weight.any() for name, weight in unbroken.items() if name.startswith('controlnet_mid_block'))
    assert (work / 'denoiser' / 'samples' / 'iter_4.png').is_file()
    assert 'holds a trained model (control)' in train(place, options=options)
    # another name: MMEngine keeps the visualizer of a run of the same name that began in the same second
    elsewhere = ['--work-dir', str(place / 'broken')]
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        stop_after(patch, 'denoiser', 3)
        train(place, *elsewhere, options=options)
    assert train(place, '--resume', *elsewhere, options=options) is None
    resumed = load_file(place / 'broken' / weights)
    assert all(weight.allclose(resumed[name], atol=1e-6) for name, weight in unbroken.items())


def test_a_control_branch_of_images_that_are_encoded_as_they_come(place):
    pretrained, work = save_tiny_pipeline(place / 'tiny'), place / 'work'
    labelled = write_labelled(place)
    options = [f'pretrained={pretrained}', *labelled, 'keep_latents=False', 'images.limit=3']
    assert train(place, options=options) is None
    assert (work / 'control' / 'config.json').is_file() and not (work / 'latents.safetensors').exists()


def test_bad_input_is_one_sentence_before_any_work(place):
    write_config(place, 'diffusion_distil_clean.py')
    pretrained = f'pretrained={save_tiny_pipeline(place / "tiny")}'
    for options, sentence in (
        (['pretrained=None'], 'CleanDistiller tunes the denoiser of `pretrained`, which the config does not name'),
        (['pretrained={place}/photos'.format(place=place)], 'has no unet/config.json'),
        ([pretrained, 'images.size=(32,40)'], 'images.size (32, 40) must be divisible by 16'),
        ([pretrained, 'train_autoencoder=True'], 'train_autoencoder=True is not for CleanDistiller'),
        ([pretrained, 'denoiser.model.tap=all'], "model (CleanDistiller) has no option 'tap'; did you mean 'taps'?"),
    ):
        error = train(place, options=options)
        assert error and sentence in error and '\n' not in error, error
    assert not (place / 'work' / 'unet').exists()


def test_a_prompt_of_sample_grids_that_is_too_long_is_told_before_any_work(place):
    pretrained = save_tiny_pipeline(place / 'tiny')
    write_config(place, 'diffusion_full.py', prompt='a photo of a street ' * 40, sample_strengths=[200])
    error = train(place, options=[f'pretrained={pretrained}'])
    assert error and 'tokens' in error and '\n' not in error, error
    assert not (place / 'work' / 'latents.safetensors').exists()
