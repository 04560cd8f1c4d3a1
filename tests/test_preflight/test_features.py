"""What is told of a feature cache before the first iteration."""

import pytest
from mmengine.registry import DATASETS, MODELS, init_default_scope

pytest.importorskip('mmseg')

from diff2in1_mm.preflight import features  # noqa: E402
from diff2in1_mm.preflight.features import check_feature_cache  # noqa: E402
from tests.segmentors import stock_segmentor  # noqa: E402
from tests.test_datasets.test_fixed_views import AUGMENTED  # noqa: E402
from tests.tiny_runs import config, make_images  # noqa: E402


@pytest.fixture
def look(tmp_path, pipeline_folder):
    init_default_scope('mmseg')
    make_images(tmp_path, count=3)

    def check(views, **cache):
        model = stock_segmentor('sem_fpn', pipeline_folder)
        model['backbone']['feature_cache'] = dict(folder=str(tmp_path / 'features'), **cache)
        dataset = config(tmp_path, tmp_path).train_dataloader.dataset
        dataset.dataset.pipeline = AUGMENTED
        dataset.views = views
        check_feature_cache(MODELS.build(model), DATASETS.build(dataset))

    return check


def test_the_size_is_told(look, logged):
    look(5)
    # 64 x 64 pixels after the data preprocessor: (16 * 16^2 + 24 * 8^2 + 32 * 4^2) * 2 bytes
    assert [line for line in logged if '5 views of 6 images' in line and '0.0123 MB each at 64 x 64 pixels' in line]
    assert not [line for line in logged if 'find little again' in line]


def test_views_that_do_not_come_again_are_told(look, logged, monkeypatch):
    look(None)
    assert [
        line for line in logged if '5 times the first image' in line and "type='SyntheticMixDataset', views=8" in line
    ]
    monkeypatch.setattr(features.FixedViews, 'of_entry', lambda self, dataset, index: features.FixedViews(0).of(''))
    look(5)
    assert [line for line in logged if '6 times' in line and 'random numbers of its own' in line]


def test_too_large_a_cache_is_refused(look, monkeypatch):
    with pytest.raises(ValueError, match='0.000369 GB, more than feature_cache.limit = 0.0001: raise it, take fewer'):
        look(5, limit=0.0001)
    monkeypatch.setattr(features.shutil, 'disk_usage', lambda path: type('Usage', (), dict(free=10**5)))
    with pytest.raises(ValueError, match='but 0.0001 GB are free in .*features.*: name another folder'):
        look(5)


def test_models_without_a_cache_are_left_alone():
    check_feature_cache(object(), object())
