"""Whole runs on normals and depth: rooms in, a summary, a store and pictures out."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import Runner

from diff2in1_mm.datasets.rooms.segmentation import RoomsDataset
from diff2in1_mm.store.store import SyntheticStore

from ..stores import read_one
from ..tiny_runs import hook_of, train
from ..tiny_scenes import LOADERS, SIZE, scene_config
from ..watched_runs import CountHook

KEYS = dict(
    normals={'mean', 'median', 'rmse', 'a5', 'a7.5', 'a11.25', 'a22.5', 'a30'},
    depth={'abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'silog', 'd1', 'd2', 'd3'},
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tmp_path_factory.mktemp('rooms')


@pytest.mark.parametrize('task', ['normals', 'depth'])
def test_from_rooms_to_summary(task, root, tmp_path, pipeline_folder, counted):
    cfg = scene_config(root, tmp_path, task, pipeline_folder, iters=8, hook=dict(student_view='feature_dropout'))
    cfg.default_hooks.visualization = dict(type='SegVisualizationHook', draw=True, interval=1)
    cfg.visualizer = dict(type='SceneLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    cfg.custom_hooks.append(dict(type='GalleryHook', count=2))
    per_iteration = []
    runner = Runner.from_cfg(cfg)
    runner.register_hook(CountHook(counted, per_iteration))
    runner.train()
    # one VAE encoding and one U-Net pass per image, in the warm-up and beside theta_C's labels
    assert per_iteration[4:] == [(4, 4)] * 4 and per_iteration[:3] == [(4, 4)] * 3
    summary = json.loads((tmp_path / 'summary.json').read_text())
    for stage in ('warm_up', 'self_improving'):
        figures = summary['stages'][stage]
        assert set(figures) == KEYS[task] and all(map(math.isfinite, figures.values()))
    assert summary['synthetic']['samples'] == 6
    agreement = runner.message_hub.get_scalar('train/agreement').current()
    assert -1 <= agreement <= 1
    assert runner.message_hub.get_scalar('train/ignored').current() == 0
    check_store(tmp_path / 'store', task)
    check_served(runner, task)
    # what SegVisualizationHook drew: truth and prediction beside each other
    pictures = list(tmp_path.glob('**/vis_image/*.png'))
    assert pictures and cv2.imread(str(pictures[0])).shape == (SIZE[0], 2 * SIZE[1], 3)
    assert (tmp_path / 'gallery.png').exists()
    assert (tmp_path / 'store/preview.png').exists()


def check_store(folder, task):
    store = SyntheticStore(folder)
    assert store.tasks == (task,) and len(store) == 6
    for record in store.records():
        picture = cv2.imread(str(store.annotation_paths(record)[task]), cv2.IMREAD_UNCHANGED)
        assert picture.dtype == np.uint16 and picture.shape[:2] == SIZE
        image, annotation = read_one(store, record)
        assert image.shape == (*SIZE, 3)
        if task == 'normals':
            np.testing.assert_allclose(np.linalg.norm(annotation, axis=2), 1, atol=1e-4)
        else:
            assert 0 < annotation.min() and annotation.max() < 20


def check_served(runner, task):
    """The store's samples come back through the data set's own pipeline, flips included."""
    data = runner.train_dataloader.dataset
    store = SyntheticStore(data.store_root)
    by_id = {record.id: record for record in store.records()}
    seen = set()
    for _ in range(4):  # flipped or not
        for index in range(len(data.real), len(data)):
            sample = data[index]['data_samples']
            assert sample.synthetic
            stored = read_one(store, by_id[sample.sample_id])[1]
            if sample.flip:
                stored = stored[:, ::-1] * ([-1, 1, 1] if task == 'normals' else 1)
            field = sample.gt_normal_map.data if task == 'normals' else sample.gt_depth_map.data
            np.testing.assert_allclose(
                field.permute(1, 2, 0).squeeze(-1) if task == 'depth' else field.permute(1, 2, 0), stored, atol=1e-5
            )
            seen.add(sample.flip)
    assert seen == {True, False}


def test_the_released_head_learns_from_targets_of_its_training_mode(root, tmp_path, pipeline_folder):
    cfg = scene_config(
        root,
        tmp_path,
        'normals',
        pipeline_folder,
        bae=True,
        iters=6,
        hook=dict(
            target_mode='train',
            labelling=dict(max_error=85.0, weigh=True),
            creation=dict(T=300, steps=2, batch_size=4, label_from='last_step'),
        ),
    )
    runner = train(cfg)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    assert 0 <= runner.message_hub.get_scalar('train/ignored').current() <= 1
    records = SyntheticStore(tmp_path / 'store').records()
    assert all(0 < record.quality['expected_error'] < 90 for record in records)
    assert 'decode_head.decoder.coarse.weight' in hook_of(runner).theta_c.state_dict()


def test_stored_labels_can_stay(root, tmp_path, pipeline_folder):
    runner = train(
        scene_config(
            root, tmp_path, 'depth', pipeline_folder, iters=6, hook=dict(targets='creation', labelling=dict(file='npy'))
        )
    )
    assert runner.message_hub.get_scalar('train/ignored').current() == 0
    assert SyntheticStore(tmp_path / 'store').tasks == ('depth_npy',)
    sample = runner.train_dataloader.dataset[-1]['data_samples']
    assert sample.synthetic and sample.gt_depth_map.data.max() < 20


@pytest.mark.parametrize('task', ['normals', 'depth'])
def test_labels_of_the_source_image_can_stay(task, root, tmp_path, pipeline_folder):
    runner = train(
        scene_config(
            root,
            tmp_path,
            task,
            pipeline_folder,
            iters=6,
            hook=dict(targets='creation', creation=dict(T=50, steps=1, label_from='source')),
        )
    )
    data, store = runner.train_dataloader.dataset, SyntheticStore(tmp_path / 'store')
    for record in store.records():
        loaded = TRANSFORMS.build(LOADERS[task])(data.real.get_data_info(record.source))
        field = 'gt_depth_map' if task == 'depth' else 'gt_normal_map'
        np.testing.assert_allclose(read_one(store, record)[1], loaded[field], atol=1e-3)
    check_served(runner, task)


@DATASETS.register_module()
class RoomsWithoutClasses(RoomsDataset):
    """As a data set for depth alone may be."""

    METAINFO = {}


def test_a_data_set_needs_no_classes(root, tmp_path, pipeline_folder):
    cfg = scene_config(root, tmp_path, 'depth', pipeline_folder, iters=5)
    cfg.train_dataloader.dataset.dataset.type = 'RoomsWithoutClasses'
    cfg.custom_hooks.append(dict(type='GalleryHook', count=2))
    train(cfg)
    assert len(SyntheticStore(tmp_path / 'store')) == 6
    assert (tmp_path / 'store/preview.png').exists() and (tmp_path / 'gallery.png').exists()


def test_the_shipped_rooms_configs_are_of_these_parts():
    """Their data sets load what the heads are trained on."""
    from mmengine.config import Config

    from diff2in1_mm.utils.resources import config_path

    for task in ('normals', 'depth'):
        cfg = Config.fromfile(config_path(f'diff2in1_rooms_{task}.py'))
        assert DATASETS.get(cfg.train_dataloader.dataset.type)
        assert cfg.visualizer.type == 'SceneLocalVisualizer'
        assert cfg.default_hooks.visualization.type == 'SegVisualizationHook'
