"""What several files of tests begin from: a folder of photographs with a config, a small diffusion model."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from diffusers import DDIMScheduler

import diff2in1_mm  # noqa: F401

from .. import published

ROOT = Path(__file__).resolve().parents[2]
CONFIG = f"""
_base_ = [{str(ROOT / 'configs' / 'diffusion_camvid.py')!r}]
images = dict(path='photos', size=(32, 48))
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
autoencoder = dict(
    model=dict(autoencoder=dict(block_out_channels=(8, 8, 16), norm_num_groups=4,
                                latent_channels=4), crop=(16, 16), crop_iters=3),
    train_dataloader=dict(batch_size=2, dataset=dict(crop=(16, 32))),
    train_cfg=dict(max_iters=4),
    custom_hooks=[dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=10),
                  dict(type='SampleGridHook', count=2, interval=4)])
denoiser = dict(
    unet=dict(sample_size=(8, 12), block_out_channels=(16, 24, 32), norm_num_groups=4,
              attention_head_dim=2),
    text_encoder=dict(hidden_size=16, intermediate_size=32, projection_dim=16,
                      num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16),
    model=dict(latent_crop=(4, 8), latent_crop_iters=3, sample_steps=2, sample_strengths=(200, )),
    train_dataloader=dict(batch_size=2),
    train_cfg=dict(max_iters=4),
    custom_hooks=[dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=10),
                  dict(type='SampleGridHook', count=2, interval=4),
                  dict(type='SavePipelineHook', interval=2)])
"""


@pytest.fixture
def place(tmp_path):
    """Config, six photographs with captions for five, a file that is no image."""
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'photos').mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'photos' / f'{i}.png'), cv2.resize(small, (60, 40)))
    (tmp_path / 'photos' / 'broken.jpg').write_bytes(b'not an image')
    (tmp_path / 'captions.json').write_text(json.dumps({f'{i}.png': f'a photo of {i} cars' for i in range(5)}))
    return tmp_path


@pytest.fixture(scope='module')
def small():
    return published.small_diffusion()


@pytest.fixture(scope='module')
def folder(small, tmp_path_factory):
    """The small diffusion model as its owner would save it."""
    path = tmp_path_factory.mktemp('diffusion')
    vae, unet = small
    unet.save_pretrained(path / 'unet')
    vae.save_pretrained(path / 'vae')
    DDIMScheduler(beta_schedule='scaled_linear').save_pretrained(path / 'scheduler')
    return path
