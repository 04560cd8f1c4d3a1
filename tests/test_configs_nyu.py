"""The NYUv2 configs: the released recipe number by number, and all of them run on a tiny model."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.diffusion.schedules import partial_noise_schedule
from diff2in1_mm.store.store import SyntheticStore

from .test_configs import shrink_segmentor

FOLDER = Path(__file__).resolve().parent.parent / 'configs'
IMAGES = 795  # NYUv2's training images
SD = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule='scaled_linear',
    prediction_type='epsilon',
)


@pytest.fixture(scope='module')
def recipe():
    return Config.fromfile(FOLDER / 'diff2in1_nyu_normals.py')


class TestReleasedRecipe:
    """Numbers of the paper's released code, as docs/parity.md lists them."""

    def test_perception(self, recipe):
        backbone = recipe.model.backbone
        assert (backbone.timestep, backbone.noise, backbone.sample_posterior) == (0, True, True)
        assert backbone.get('condition') is None  # the empty prompt
        assert backbone.taps == 'all' and backbone.get('scale_latents', True)
        assert backbone.diffusion.dtype == 'fp32' and 'v1-5' in backbone.diffusion.source
        assert recipe.model.neck == dict(type='DiffusionAggregator', in_channels=[2560, 4160, 7040, 7680])
        assert recipe.model.decode_head == dict(type='NormalHead')  # its defaults are Bae et al.'s

    def test_head(self):
        from diff2in1_mm.models.decode_heads.normal_head import NormalHead

        head = NormalHead((4, 6, 8, 12, 32), channels=128)
        assert (head.decoder.sampling_ratio, head.decoder.importance_ratio) == (0.4, 0.7)
        assert head.uncertainty_sampling and head.loss_decode.single.kind == 'nll_angular'

    def test_data(self, recipe):
        loader = recipe.train_dataloader
        assert loader.batch_size == 8 and loader.drop_last and loader.sampler.shuffle
        assert loader.dataset.ratio == 1.0 and loader.dataset.dataset.captions == 'caption'
        steps = [step.type for step in loader.dataset.dataset.pipeline]
        assert steps == ['LoadImageFromFile', 'LoadNormals', 'Resize', 'PackSceneInputs']
        assert loader.dataset.dataset.pipeline[2] == dict(type='Resize', scale=(512, 512), keep_ratio=False)
        assert recipe.model.data_preprocessor.size == (512, 512)

    def test_generation(self, recipe):
        creation = CreationSettings.from_dict(recipe.custom_hooks[0].creation)
        assert (creation.T, creation.steps, creation.solver) == (600, 50, 'ddim')
        assert creation.condition.type == 'OwnCaption' and creation.sample_posterior
        assert creation.copies_per_source == 1 and creation.label_from == 'last_step'
        assert (creation.scale, creation.keep_ratio) == ((512, 512), False)
        schedule = partial_noise_schedule(SD, creation.T, creation.steps, creation.solver)
        assert list(schedule.timesteps) == list(range(589, 0, -12)) and schedule.start == 600

    def test_self_improvement(self, recipe):
        hook = recipe.custom_hooks[0]
        assert 1 - hook.momentum == 0.998
        assert (hook.interval, hook.interval_from) == (10, 'epoch')
        assert hook.target_mode == 'train' and hook.student_view == 'same'
        assert hook.get('targets', 'per_iteration') == 'per_iteration'
        assert 'labelling' not in hook and hook.restart_optimizer

    def test_length(self, recipe):
        """50 epochs of 99 iterations over the real images, then 50 of 198 over both."""
        epoch = 2 * IMAGES // recipe.train_dataloader.batch_size
        hook, cfg = recipe.custom_hooks[0], recipe.train_cfg
        assert cfg.type == 'EpochBasedTrainLoop'
        assert hook.warm_up * epoch == 50 * (IMAGES // 8)
        assert cfg.max_epochs - hook.warm_up == 50

    def test_optimizer(self, recipe):
        assert recipe.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3.57e-4))
        (schedule,) = recipe.param_scheduler
        assert schedule.type == 'ConstantLR' and schedule.factor == 1.0


def make_nyu(root, count=6, size=(48, 64)):
    """Normals in the layout of Bae et al. and depth in MMSegmentation's."""
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        folders = {kind: root / 'normals' / split / kind for kind in ('img', 'norm', 'caption')}
        folders.update({kind: root / 'depth' / kind / split for kind in ('images', 'annotations')})
        for folder in folders.values():
            folder.mkdir(parents=True)
        for i in range(count):
            picture = cv2.resize(rng.integers(1, 256, (6, 8, 3), dtype=np.uint8), size[::-1])
            cv2.imwrite(str(folders['img'] / f'{i:06d}.png'), picture)
            cv2.imwrite(str(folders['norm'] / f'{i:06d}.png'), picture[::-1])
            (folders['caption'] / f'{i:06d}.txt').write_text('a room')
            cv2.imwrite(str(folders['images'] / f'bedroom_{i}.jpg'), picture)
            cv2.imwrite(str(folders['annotations'] / f'bedroom_{i}.png'), picture[..., 0].astype(np.uint16) * 30)
    return root


def replace(value, name, new):
    """Set a key wherever a config has it."""
    if isinstance(value, dict):
        for key in value:
            if key == name:
                value[key] = new
            else:
                replace(value[key], name, new)
    elif isinstance(value, (list, tuple)):
        for item in value:
            replace(item, name, new)


@pytest.mark.parametrize('name', ['normals', 'normals_fast', 'depth'])
def test_the_recipe_runs_on_a_tiny_model(name, tmp_path, pipeline_folder):
    root = make_nyu(tmp_path / 'nyu')
    cfg = Config.fromfile(FOLDER / f'diff2in1_nyu_{name}.py')
    init_default_scope('mmseg')
    task = name.partition('_')[0]
    replace(cfg._cfg_dict, 'data_root', str(root / task))
    replace(cfg._cfg_dict, 'num_workers', 0)
    replace(cfg._cfg_dict, 'persistent_workers', False)
    replace(cfg._cfg_dict, 'scale', (64, 48))
    replace(cfg._cfg_dict, 'crop_size', (32, 48))
    replace(cfg._cfg_dict, 'stride', (16, 16))
    cfg.model.data_preprocessor.size = (32, 48) if task == 'depth' else (48, 64)
    cfg.model.backbone.diffusion = str(pipeline_folder)
    shrink_segmentor(cfg.model)
    cfg.train_dataloader.batch_size = 2
    hook = cfg.custom_hooks[0]
    hook.update(warm_up=1, interval=2)
    hook.creation.update(T=100, steps=2, batch_size=3)
    if task == 'depth':
        hook.warm_up, cfg.train_cfg.max_iters, cfg.train_cfg.val_interval = 2, 4, 4
    else:
        cfg.train_cfg.update(max_epochs=2, val_interval=2)
    cfg.work_dir, cfg.log_level = str(tmp_path / 'run'), 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    store = SyntheticStore(tmp_path / 'run/synthetic')
    assert len(store) == 6 and store.tasks == (task,)
    if task == 'normals':
        assert {record.caption for record in store.records()} == {'a room'}
