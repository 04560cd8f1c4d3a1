"""The real parts together: a diffusion model generates, theta_C labels, theta_E learns."""

import json
import weakref
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only

from ..stores import lose_record
from ..tiny_runs import config, hook_of, train
from ..watched_runs import CountHook


def make_pictures(folder, count):
    """Unlabelled pictures of the size of the labelled ones."""
    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), noise)
    return folder


def with_diffusion(pipeline_folder, *args, hook=None, **kwargs):
    hook = dict(dict(warm_up=3, momentum=0.2, creation=dict(T=300, steps=2, batch_size=4)), **(hook or {}))
    cfg = config(*args, hook=hook, **kwargs)
    cfg.model.backbone = dict(type='DiffusionBackbone', diffusion=str(pipeline_folder))
    cfg.model.neck = dict(type='FPN', in_channels=[16, 24, 32], out_channels=8, num_outs=3)
    cfg.model.decode_head = dict(
        type='FPNHead',
        in_channels=[8] * 3,
        in_index=[0, 1, 2],
        feature_strides=[4, 8, 16],
        channels=8,
        dropout_ratio=0.0,
        num_classes=3,
        align_corners=False,
        norm_cfg=dict(type='BN', requires_grad=True),
    )
    return cfg


def test_from_images_to_summary(images, tmp_path, pipeline_folder, counted):
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=8, hook=dict(student_view='feature_dropout'))
    per_iteration = []
    runner = Runner.from_cfg(cfg)
    runner.register_hook(CountHook(counted, per_iteration))
    runner.train()
    # one VAE encoding and one U-Net pass per image, in the warm-up and beside theta_C's labels
    assert per_iteration[4:] == [(4, 4)] * 4 and per_iteration[:3] == [(4, 4)] * 3
    store = SyntheticStore(tmp_path / 'store')
    assert len(store) == 8 and store.records()[0].T == 300
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['synthetic']['samples'] == 8
    assert runner.message_hub.get_scalar('train/agreement').current() > 0
    checkpoint = load_weights_only(tmp_path / 'iter_8.pth')
    assert not any('unet' in name or 'vae' in name for name in checkpoint['state_dict'])
    assert 'backbone.frozen_fingerprint' in checkpoint['state_dict']


def test_unlabelled_pictures_beside_samples_with_labels_of_their_sources(images, tmp_path, pipeline_folder):
    more = make_pictures(tmp_path / 'more', 5)
    creation = dict(T=300, steps=2, batch_size=4, label_from='source', unlabelled=str(more))
    hook = dict(creation=creation, targets='unlabelled', recreate_every=3)
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=8, hook=hook)
    cfg.custom_hooks.append(dict(type='GalleryHook', count=8))
    runner = Runner.from_cfg(cfg)
    runner.train()
    store, round = SyntheticStore(tmp_path / 'store'), hook_of(runner).served_round
    pictures = [record for record in store.records() if record.unlabelled]
    assert round > 0 and len(store.accepted(round)) == len(store) == 8 + 5
    assert {record.source_path for record in pictures} == {str(path) for path in more.iterdir()}
    assert json.loads((tmp_path / 'summary.json').read_text())['synthetic']['samples'] == 13
    assert (tmp_path / 'gallery.png').exists()


def test_recreation_and_resume(images, tmp_path, pipeline_folder):
    hook = dict(recreate_every=3)
    train(with_diffusion(pipeline_folder, images, tmp_path, iters=7, hook=hook))
    assert {r.round for r in SyntheticStore(tmp_path / 'store').records()} == {1}
    # as if it had been killed in the second creation: the checkpoint before it, half the samples
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    store = SyntheticStore(tmp_path / 'store')
    for record in list(store.records())[::2]:
        lose_record(store.root, record.id)
    resumed = train(with_diffusion(pipeline_folder, images, tmp_path, iters=8, hook=hook, resume=True))
    assert len(SyntheticStore(tmp_path / 'store')) == 8
    assert hook_of(resumed).state.round == 1


@pytest.fixture
def loaded(monkeypatch):
    """Weak references to every diffusion model that a creation loads."""
    models = []

    def load(**options):
        model = load_diffusion(**options)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(import_module('diff2in1_mm.creation.create'), 'load_diffusion', load)
    return models


class WatchMemory(Hook):
    """Notes in every iteration how many diffusion models there are."""

    def __init__(self, loaded):
        self.loaded, self.alive = loaded, []

    def after_train_iter(self, runner, *args, **kwargs):
        self.alive.append([model() is not None for model in self.loaded])


def with_own_backbone(pipeline_folder, *args, **kwargs):
    creation = dict(T=300, steps=2, batch_size=4, diffusion=str(pipeline_folder))
    cfg = config(*args, hook=dict(warm_up=3, momentum=0.2, creation=creation), **kwargs)
    cfg.model.decode_head.dropout_ratio = 0.0  # its draws are no part of a checkpoint
    return cfg


def test_a_diffusion_model_for_the_creation_alone(images, tmp_path, pipeline_folder, loaded):
    runner = Runner.from_cfg(with_own_backbone(pipeline_folder, images, tmp_path, iters=6))
    watch = WatchMemory(loaded)
    runner.register_hook(watch)
    runner.train()
    # looked at before the warm-up, loaded again for the creation, and gone both times
    assert watch.alive == [[False]] * 3 + [[False, False]] * 3
    assert len(SyntheticStore(tmp_path / 'store')) == 8
    theta_c = load_weights_only(tmp_path / 'iter_6.pth')
    own = [name for name in theta_c['theta_E'] if name.startswith('backbone.')]
    assert own and any((theta_c['theta_E'][n] != theta_c['state_dict'][n]).any() for n in own)
    assert runner.message_hub.get_scalar('train/agreement').current() > 0


def test_a_creation_for_another_backbone_goes_on_where_it_was_cut_off(images, tmp_path, pipeline_folder, loaded):
    whole = train(with_own_backbone(pipeline_folder, images, tmp_path / 'whole', iters=6))
    train(with_own_backbone(pipeline_folder, images, tmp_path / 'cut', iters=4))
    # as if it had been killed in the creation: the checkpoint before it, half the samples
    (tmp_path / 'cut' / 'last_checkpoint').write_text(str(tmp_path / 'cut' / 'iter_3.pth'))
    store = SyntheticStore(tmp_path / 'cut' / 'store')
    for record in list(store.records())[::2]:
        lose_record(store.root, record.id)
    resumed = train(with_own_backbone(pipeline_folder, images, tmp_path / 'cut', iters=6, resume=True))
    assert len(SyntheticStore(tmp_path / 'cut' / 'store')) == 8 and not any(model() for model in loaded)
    theta_c, expected = (hook_of(runner).theta_c.state_dict() for runner in (resumed, whole))
    assert all(torch.equal(theta_c[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    'creation, match', [(dict(T=1000), 'T'), (dict(stepz=1), 'stepz'), (dict(batch_size=0), 'batch_size')]
)
def test_creation_settings_are_checked_before_anything_is_built(creation, match):
    from diff2in1_mm.self_improving.hook import SelfImprovingHook

    with pytest.raises(ValueError, match=match):
        SelfImprovingHook(warm_up=1, creation=creation)


def test_a_backbone_without_a_diffusion_model_is_told_before_the_warm_up(images, tmp_path):
    with pytest.raises(ValueError, match='creation.diffusion'):
        train(config(images, tmp_path, hook=dict(creation=dict(T=300))))


def test_a_normalisation_that_misses_the_range_stops_before_the_first_iteration(images, tmp_path, pipeline_folder):
    cfg = with_diffusion(pipeline_folder, images, tmp_path)
    cfg.model.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    with pytest.raises(ValueError, match='so that images reach the diffusion model in'):
        train(cfg)
