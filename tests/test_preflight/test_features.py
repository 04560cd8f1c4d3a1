"""What is told of a feature cache before the first iteration."""

import re
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import EpochBasedTrainLoop

pytest.importorskip('mmseg')

from diff2in1_mm.preflight import features  # noqa: E402
from diff2in1_mm.preflight.features import check_feature_cache  # noqa: E402
from diff2in1_mm.store.records import SampleRecord  # noqa: E402
from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
from tests.segmentors import stock_segmentor  # noqa: E402
from tests.test_datasets.test_fixed_views import AUGMENTED  # noqa: E402
from tests.tiny_runs import CLASSES, config, make_images  # noqa: E402


@pytest.fixture
def look(tmp_path, pipeline_folder):
    init_default_scope('mmseg')
    make_images(tmp_path, count=3)

    def check(views, runner=None, round=None, **cache):
        model = stock_segmentor('sem_fpn', pipeline_folder)
        model['backbone']['feature_cache'] = dict(folder=str(tmp_path / 'features'), **cache)
        dataset = config(tmp_path, tmp_path).train_dataloader.dataset
        dataset.dataset.pipeline = AUGMENTED
        dataset.views = views
        dataset.round = round
        check_feature_cache(MODELS.build(model), DATASETS.build(dataset), runner)

    return check


def runner(iters, batch=4, every=None, by_epoch=False, **creation):
    """As much of a training run as says how many samples there will be."""
    hook = SimpleNamespace(creation=creation, warm_up=10, recreate_every=every, by_epoch=by_epoch)
    loader = MagicMock(batch_sampler=SimpleNamespace(batch_size=batch, sampler=None))
    loader.__len__.return_value = 3
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop) if by_epoch is None else None
    return SimpleNamespace(hooks=[SimpleNamespace(), hook], train_dataloader=loader, train_loop=loop, max_iters=iters)


def test_the_size_is_told(look, logged):
    look(5)
    # 64 x 64 pixels after the data preprocessor: (16 * 16^2 + 24 * 8^2 + 32 * 4^2) * 2 bytes
    (line,) = [line for line in logged if line.startswith('feature_cache')]
    assert '5 views of 3 images, 0.0123 MB each at 64 x 64 pixels, are up to 0.000184 GB;' in line


@pytest.mark.parametrize(
    'run, words',
    [
        (dict(iters=1000, copies_per_source=2), '5 views of 3 images and 6 synthetic ones, 0.0123 MB .* 0.000553 GB;'),
        # 10 real batches, then rounds from 10, 30, 50, ... 990
        (dict(iters=1000, every=20), '5 views of 3 images and 3 synthetic ones in each of 50 rounds, .* 0.0094 GB;'),
        (dict(iters=990, every=20), 'in each of 49 rounds'),
        (dict(iters=1000, every=20, limit=1), 'and 1 synthetic ones in each of 50 rounds'),
        (dict(iters=1000, every=20, batch=2), 'in each of 50 rounds, 0.0123'),
        (dict(iters=1000, every=20, by_epoch=True), 'in each of 17 rounds'),  # of 60 iterations, from 30 on
        (dict(iters=1000, every=20, by_epoch=None), 'in each of 17 rounds'),  # as the loop counts
        (dict(iters=100, every=1, batch=2), 'in each of 90 rounds, of which 200 are drawn, .* 0.00246 GB;'),
    ],
)
def test_all_rounds_count_but_no_more_than_the_run_draws(look, logged, run, words):
    look(5, runner(**run))
    (line,) = [line for line in logged if line.startswith('feature_cache')]
    assert re.search(words, line), line


def test_a_store_that_is_served_counts_as_it_is(look, logged, tmp_path):
    store = SyntheticStore.prepare(tmp_path / 'store', ['segmentation'], CLASSES, 'x', {})
    for copy in range(4):
        record = SampleRecord(store.sample_id(0, 1, copy), 0, 1, '', copy, 0, 1, 1, '', '', '')
        store.add(record, np.zeros((32, 32, 3), np.uint8), dict(segmentation=np.zeros((32, 32), np.uint8)))
    look(5, round=0)
    assert [line for line in logged if '5 views of 3 images and 4 synthetic ones, ' in line]


def test_former_rounds_make_room(look, logged, monkeypatch):
    """They are not looked for any more, so that what comes again at a time has to fit."""
    run = runner(1000, every=20)
    monkeypatch.setattr(features.shutil, 'disk_usage', lambda path: SimpleNamespace(free=6 * 10**5))
    look(5, run, limit=0.0005)
    assert [line for line in logged if 'Those of former rounds make room at feature_cache.limit = 0.0005.' in line]
    with pytest.raises(ValueError, match='0.0094 GB, 0.000369 GB of them at a time, more than'):
        look(5, run, limit=0.0003)
    with pytest.raises(ValueError, match='0.0094 GB, but 0.0006 GB are free'):
        look(5, run)


def test_views_that_do_not_come_again_are_told(look, logged, monkeypatch):
    look(None)
    assert [
        line for line in logged if '5 times the first image' in line and "type='SyntheticMixDataset', views=8" in line
    ]
    monkeypatch.setattr(features.FixedViews, 'of_entry', lambda self, dataset, index: features.FixedViews(0).of(''))
    look(5)
    assert [line for line in logged if '6 times' in line and 'random numbers of its own' in line]


def test_too_large_a_cache_is_refused(look, monkeypatch):
    with pytest.raises(ValueError, match='0.000184 GB, more than feature_cache.limit = 0.0001: raise it, take fewer'):
        look(5, limit=0.0001)
    monkeypatch.setattr(features.shutil, 'disk_usage', lambda path: type('Usage', (), dict(free=10**5)))
    with pytest.raises(ValueError, match='but 0.0001 GB are free in .*features.*: name another folder'):
        look(5)


def test_models_without_a_cache_are_left_alone():
    check_feature_cache(object(), object())
