"""What tools/train_diffusion.py says before any work."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from diff2in1_mm.pretraining import training as diffusion_training

from .. import family_models
from ..small_models import save_tiny_pipeline
from .test_train_diffusion import train


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['images.path=gone'], 'there is no image folder'),
        (['images.path=*.py'], 'holds no image'),
        (['images.size=(32,40)'], 'must be divisible by 16'),
        (
            ['autoencoder.train_dataloader.dataset.crop=(64,64)'],
            'autoencoder.train_dataloader.dataset.crop (64, 64) is larger than images.size (32, 48)',
        ),
        (
            ['autoencoder.model.crop=(16,48)'],
            'autoencoder.model.crop (16, 48) is larger than autoencoder.train_dataloader.dataset.crop (16, 32)',
        ),
        (
            ['autoencoder.crop=(16,16)'],
            "autoencoder has no setting 'crop'; did you mean "
            'autoencoder.model.crop or autoencoder.train_dataloader.dataset.crop?',
        ),
        (['denoiser.optim_wraper.type=OptimWrapper'], "'optim_wraper'; did you mean 'optim_wrapper'?"),
        (
            ['denoiser.optim_wrapper.optimizer.lrr=1'],
            "denoiser.optim_wrapper.optimizer (AdamW) has no option 'lrr'; did you mean 'lr'?",
        ),
        (['denoiser.train_cfg.max_iter=1'], "has no option 'max_iter'; did you mean 'max_iters'?"),
        (['image.size=(32,48)'], "has no setting 'image'; did you mean 'images'?"),
        (['images.size=32'], 'images.size = 32 must be (height, width)'),
        (['images.pth=photos'], "ImageFolder has no option 'pth'; did you mean 'path'?"),
        (['autoencoder.model.crop=(10,16)'], 'must be divisible by 4'),
        (['images.captions=gone.json'], 'no captions file'),
        (
            ['images.captions=captions.json', 'denoiser.text_encoder.max_position_embeddings=5'],
            '5 of 5 captions are longer than the 5 tokens',
        ),
        (
            [
                'denoiser.model.prompt=one two three four five six seven eight nine ten eleven twelve '
                'thirteen fourteen fifteen'
            ],
            '1 of 1 captions are longer than the 16 tokens',
        ),
        (['train_autoencoder=False'], 'set `pretrained`'),
        (['train_denoiser=False'], 'a denoiser that stays needs latents that stay'),
        (['pretrained={place}/photos'], 'is not a diffusers pipeline that can be loaded'),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(place, options, sentence):
    error = train(place, options=[option.format(place=place) for option in options])
    assert sentence in error and '\n' not in error
    assert not (place / 'work').exists()


def test_a_config_may_be_short(place, monkeypatch):
    """Without what has a default; without a part that has none it is told before any work."""
    cfg = Config.fromfile(place / 'config.py')
    for name in ('truncate_captions', 'mirror', 'keep_latents', 'encode_batch_size', 'randomness'):
        cfg.pop(name)
    for stage in (cfg.autoencoder, cfg.denoiser):
        stage.pop('custom_hooks')
    cfg.dump(place / 'config.py')
    assert train(place) is None
    assert (place / 'work' / 'pipeline' / 'model_index.json').is_file()
    cfg.denoiser.pop('scheduler')
    cfg.dump(place / 'config.py')
    assert 'denoiser lacks scheduler' in train(place)


def test_the_seed_is_that_of_the_run(place):
    cfg = Config.fromfile(place / 'config.py')
    cfg.merge_from_dict({'randomness.seed': 3, 'data_root': str(place), 'work_dir': str(place)})
    training = diffusion_training.DiffusionTraining(cfg)
    assert training._autoencoder_section().model.seed == 3
    seen = []
    stub = SimpleNamespace(train=lambda: os.makedirs(training.result))
    training._runner = lambda name, section: seen.append(section) or stub
    training.train_denoiser('start')
    assert seen[0].model.seed == 3


def test_a_launcher_for_gpus_only(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert '--launcher slurm starts processes on GPUs' in train(place, '--launcher', 'slurm')


def test_a_config_of_another_kind(place):
    (place / 'config.py').write_text('model = dict()')
    assert 'begin from configs/diffusion_camvid.py' in train(place)


def test_an_autoencoder_whose_latents_are_in_use_is_not_lengthened(place):
    assert train(place) is None
    longer = ['autoencoder.train_cfg.max_iters=6']
    assert 'is finished after 4' in train(place, '--resume', options=longer)
    assert train(place, '--resume', options=['denoiser.train_cfg.max_iters=6']) is None


def test_rooms_are_not_rendered_before_what_can_be_looked_at_without_them(place, monkeypatch):
    monkeypatch.setattr(diffusion_training, 'make_rooms', lambda *_, **__: pytest.fail('rendered'))
    options = ['rooms.count=20000', 'images.size=(32,40)']
    assert 'must be divisible by 16' in train(place, options=options)


@pytest.mark.parametrize(
    'part, setting, sentence',
    [
        ('vae', dict(shift_factor=0.5), 'shifts its latents'),
        ('unet', dict(in_channels=9), '9 input channels for latents of 4'),
        ('unet', dict(time_cond_proj_dim=8), 'is a latent consistency model'),
    ],
)
def test_a_pretrained_model_of_another_kind_is_told_before_images_are_encoded(place, part, setting, sentence):
    pretrained = save_tiny_pipeline(place / 'other')
    path = place / 'other' / part / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    assert sentence in train(place, options=[f'pretrained={pretrained}'])
    assert not (place / 'work' / 'latents.safetensors').exists()


def test_a_pretrained_model_of_another_family_is_told_its_configs(place):
    family_models.xl().save_pretrained(place / 'other')
    said = train(place, options=[f'pretrained={place / "other"}'])
    assert 'is of SDXL, which configs/diffusion_lora.py and configs/diffusion_full.py tune' in said
