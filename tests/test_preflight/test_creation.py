"""What a creation refuses, before its first sample and before the warm-up of a run."""

import json
import shutil

import mmcv
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations

from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.job import CreationJob
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..small_models import write_json
from ..tiny_segmentation import FAST, PALETTE, build_dataset, build_model, make_images


def test_bad_input_is_told_before_the_first_sample(model, dataset, pipeline_folder, tmp_path, monkeypatch):
    captions = {f'{i}.png': 'view' for i in range(6)}
    condition = dict(type='Captions', path=write_json(tmp_path / 'c.json', captions))
    bad = [
        (dict(T=1000), 'T = 1000 is out of range'),
        (dict(strength=3), "creation has no setting 'strength': it knows T, steps"),
        (dict(copies_per_source=0), 'copies_per_source = 0 makes no sample'),
        (dict(label_from='old'), "must be one of .*'old'"),
        (dict(confidence=1.5), r'a probability in \[0, 1\]'),
        (dict(condition=condition), "no caption for '6'"),
        (dict(condition=dict(type='Prompt', text='x' * 60)), 'has .* tokens'),
    ]
    monkeypatch.setattr(CreationJob, '_make_group', lambda *a: pytest.fail('began'))
    for options, message in bad:
        with pytest.raises(ValueError, match=message):
            create(model, dataset, tmp_path / 's', **{**FAST, **options})
        with pytest.raises(ValueError, match=message):  # and before a warm-up
            check_creation(model, {**FAST, **options}, dataset)
    other = build_model(pipeline_folder, classes=5)
    with pytest.raises(ValueError, match='predicts 5 classes, but the data set has 3'):
        check_creation(other, FAST, dataset)
    with pytest.raises(ValueError, match='neither an existing folder nor a hub id'):
        check_creation(model, dict(FAST, diffusion='./none'), dataset)
    with pytest.raises(ValueError, match='predicts 5 classes, but the data set has 3'):
        create(other, dataset, tmp_path / 's', **FAST)
    (tmp_path / 'empty/img').mkdir(parents=True)
    monkeypatch.setattr(type(dataset), '__len__', lambda self: 0)
    with pytest.raises(ValueError, match='holds no images to create samples from'):
        create(model, dataset, tmp_path / 's', **FAST)


class ColourAnnotations(LoadAnnotations):
    """Label maps as pictures in the palette's colours."""

    def _load_seg_map(self, results):
        picture = mmcv.imread(results['seg_map_path'], channel_order='rgb')
        same = (picture[:, :, None] == np.array(PALETTE)).all(-1)
        results['gt_seg_map'] = np.where(same.any(-1), same.argmax(-1), 255).astype(np.uint8)
        results['seg_fields'].append('gt_seg_map')


class ShiftedAnnotations(LoadAnnotations):
    """Files count classes from 10."""

    def _load_seg_map(self, results):
        super()._load_seg_map(results)
        results['gt_seg_map'] = results['gt_seg_map'] - 10


class ThirdChannel(LoadAnnotations):
    """Classes are in the blue channel."""

    def _load_seg_map(self, results):
        results['gt_seg_map'] = mmcv.imread(results['seg_map_path'], 'unchanged')[:, :, 2]


@pytest.mark.parametrize('loader', [ColourAnnotations, ShiftedAnnotations, ThirdChannel])
def test_a_loader_that_would_read_the_stores_labels_as_others(model, tmp_path, loader):
    make_images(tmp_path / 'data')
    dataset = build_dataset(tmp_path / 'data')
    check_creation(model, FAST, dataset)
    dataset.pipeline.transforms[1] = loader()
    for check in (
        lambda **s: check_creation(model, s, dataset),
        lambda **s: create(model, dataset, tmp_path / 's', **s),
    ):
        with pytest.raises(ValueError, match=f'which the data set.s {loader.__name__} reads as'):
            check(**FAST)
    # where the data set's own files are plays no part
    dataset.pipeline.transforms[1] = LoadAnnotations(backend_args=dict(backend='http'))
    check_creation(model, FAST, dataset)
    dataset.pipeline.transforms[1] = loader()
    # maps of source images stay as they are
    check_creation(model, dict(FAST, label_from='source'), dataset)


def with_schedule(folder, root, **changes):
    """A copy of a diffusion model whose scheduler config says something else."""
    copy = shutil.copytree(folder, root / 'other')
    path = copy / 'scheduler' / 'scheduler_config.json'
    config = {**json.loads(path.read_text()), **changes}
    write_json(path, {key: value for key, value in config.items() if value is not None})
    return str(copy)


@pytest.mark.parametrize('solver', ['dpmsolver++', 'ddim'])
def test_the_schedule_of_the_model_is_asked_before_a_warm_up(dataset, pipeline_folder, tmp_path, monkeypatch, solver):
    monkeypatch.setattr(CreationJob, '_make_group', lambda *a: pytest.fail('began'))
    model = build_model(with_schedule(pipeline_folder, tmp_path, num_train_timesteps=100))
    words = 'T = 300 .* between 1 and 99, as this diffusion model has 100 steps'
    for settings in (dict(FAST, solver=solver), dict(FAST, solver=solver, T=[50, 300])):
        with pytest.raises(ValueError, match=words):
            check_creation(model, settings, dataset)
        with pytest.raises(ValueError, match=words):
            create(model, dataset, tmp_path / 's', **settings)


@pytest.mark.parametrize('changes', [dict(num_train_timesteps=None), dict(use_beta_sigmas=True)])
def test_any_scheduler_config_serves(dataset, pipeline_folder, tmp_path, changes):
    model = build_model(with_schedule(pipeline_folder, tmp_path, **changes))
    check_creation(model, FAST, dataset)
    assert create(model, dataset, tmp_path / 's', limit=1, **FAST).samples == 1


def test_a_store_for_something_else_is_told_before_a_warm_up(model, dataset, tmp_path):
    store = str(tmp_path / 's')
    create(model, dataset, store, limit=2, seed=3, **FAST)
    for parameter in model.decode_head.parameters():
        parameter.data += 1  # what labels changes in a warm-up, everything else must fit
    check_creation(model, FAST, dataset, store, seed=3)
    with pytest.raises(StoreMismatch, match='seed: there 3, here 4'):
        check_creation(model, FAST, dataset, store, seed=4)
    with pytest.raises(StoreMismatch, match='T: there .*, here .200'):
        check_creation(model, dict(FAST, T=200), dataset, store, seed=3)
    assert len(SyntheticStore(store)) == 2


@pytest.mark.parametrize(
    'condition, message',
    [
        (dict(type='Captions', default='x' * 60), 'has .* tokens'),
        (dict(type='ComposedCaption', scene='x' * 60), 'has .* tokens'),
        (dict(type='OwnCaption'), 'has no `caption` for'),
    ],
)
def test_captions_are_looked_at_before_a_warm_up(model, dataset, tmp_path, condition, message):
    if condition['type'] == 'Captions':
        condition['path'] = write_json(tmp_path / 'c.json', {'0.png': 'view'})
    with pytest.raises(ValueError, match=message):
        check_creation(model, dict(FAST, condition=condition), dataset)
    assert not model.backbone.diffusion.text.in_memory


def test_captions_of_images_that_no_sample_is_made_from_are_not_asked_for(model, dataset, tmp_path):
    path = write_json(tmp_path / 'c.json', {'0.png': 'view'})
    settings = dict(FAST, condition=dict(type='Captions', path=path))
    check_creation(model, dict(settings, limit=1), dataset)
    with pytest.raises(ValueError, match='has no caption for'):
        check_creation(model, settings, dataset)
