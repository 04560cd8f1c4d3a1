"""A fixed number of views of each image, whatever draws them."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope

pytest.importorskip('mmseg')

from diff2in1_mm.datasets.fixed_views import FixedViews  # noqa: E402
from tests.tiny_runs import config, make_images  # noqa: E402

AUGMENTED = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg.LoadAnnotations', reduce_zero_label=False),
    dict(type='RandomResize', scale=(48, 48), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='mmseg.RandomCrop', crop_size=(32, 32)),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs'),
]


@pytest.fixture
def build(tmp_path):
    init_default_scope('mmseg')
    make_images(tmp_path, count=3)

    def make(views, wrap=None, pipeline=AUGMENTED, ratio=0.0):
        inner = config(tmp_path, tmp_path).train_dataloader.dataset.dataset
        inner.pipeline = pipeline
        dataset = inner if wrap is None else dict(wrap, dataset=inner)
        return DATASETS.build(dict(type='SyntheticMixDataset', dataset=dataset, ratio=ratio, views=views))

    return make


def drawn(dataset, index, times):
    return [dataset[index]['inputs'].numpy().tobytes() for _ in range(times)]


def test_an_image_comes_in_its_views_only(build):
    np.random.seed(0)
    first = [set(drawn(build(4), index, 40)) for index in range(3)]
    assert [len(views) for views in first] == [4, 4, 4] and not first[0] & first[1]
    np.random.seed(1)
    random.seed(1)
    again = build(4)  # in another process, with other numbers drawn before
    assert [set(drawn(again, index, 40)) for index in range(3)] == first
    repeated = build(4, wrap=dict(type='RepeatDataset', times=2))
    assert set(drawn(repeated, 4, 40)) == first[1]
    assert not set(drawn(build(dict(count=4, seed=1)), 0, 40)) & first[0]
    assert len(set(drawn(build(None), 0, 10))) == 10


def test_labels_go_with_their_views(build):
    dataset, labels = build(2), {}
    for _ in range(12):
        sample = dataset[0]
        pixels = sample['inputs'].numpy().tobytes()
        assert labels.setdefault(pixels, sample['data_samples'].gt_sem_seg.data.numpy().tobytes()) == (
            sample['data_samples'].gt_sem_seg.data.numpy().tobytes()
        )
    assert len(labels) == 2


def test_what_is_drawn_outside_does_not_depend_on_the_pipeline(build):
    def after(dataset):
        np.random.seed(0)
        random.seed(0)
        torch.manual_seed(0)
        dataset[0]
        return np.random.rand(), random.random(), torch.rand(1).item()

    assert after(build(4)) == after(build(4, pipeline=[AUGMENTED[0], AUGMENTED[1], AUGMENTED[-1]]))


def test_pipelines_that_remember_images_are_refused(build):
    dataset = build(None)
    dataset.dataset.pipeline.transforms.append(type('CachedMosaic', (), dict(results_cache=[]))())
    with pytest.raises(ValueError, match='views = 2 cannot fix what CachedMosaic draws'):
        FixedViews(2).check(dataset.dataset)
    FixedViews(0).check(dataset.dataset)


@pytest.mark.parametrize('views', [-1, 1.5, dict(count=2, seeds=1), dict(seed=-1)])
def test_bad_views_are_named(views):
    with pytest.raises(ValueError, match='views'):
        FixedViews(views)
