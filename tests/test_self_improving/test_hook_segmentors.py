"""MMSegmentation's kinds of segmentor: each trains, creates, labels itself, resumes, tests."""

import pytest
import torch
from mmengine.runner import Runner

pytest.importorskip('mmseg')

from diff2in1_mm.store.store import SyntheticStore  # noqa: E402

from ..segmentors import OF_MMDET, SEGMENTORS, segmentor_config  # noqa: E402
from ..tiny_runs import make_images, train  # noqa: E402
from ..watched_runs import train_watched  # noqa: E402


@pytest.fixture(scope='module')
def four_images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp('four'), count=4, size=64)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor(name, four_images, tmp_path, pipeline_folder, counted, untouched):
    if name in OF_MMDET:
        pytest.importorskip('mmdet')
    runner = Runner.from_cfg(
        segmentor_config(name, four_images, tmp_path, pipeline_folder, student_view='feature_dropout')
    )
    passes = train_watched(runner, counted, untouched)
    trained = {n for n, p in runner.model.named_parameters() if p.requires_grad}
    assert len(passes) == 3 and all(names == trained for names in passes)  # for DDP

    store = SyntheticStore(tmp_path / 'store')
    assert len(store) == 4 and not store.damaged
    assert all(0 < record.quality['confidence'] <= 1 for record in store.records())

    cfg = segmentor_config(name, four_images, tmp_path, pipeline_folder, iters=4)
    cfg.resume = True
    resumed = train(cfg)
    assert resumed.iter == 4
    assert all(torch.isfinite(p).all() for p in resumed.model.parameters())
    cfg = segmentor_config(name, four_images, tmp_path / 'test', pipeline_folder)
    cfg.load_from, cfg.custom_hooks = str(tmp_path / 'iter_4.pth'), []
    assert 0 <= Runner.from_cfg(cfg).test()['mIoU'] <= 100


@pytest.mark.parametrize('name', ['upernet', 'ocrnet'])
def test_unsure_pixels_are_ignored_by_every_head(name, four_images, tmp_path, pipeline_folder):
    runner = train(segmentor_config(name, four_images, tmp_path, pipeline_folder, confidence=1.0))
    assert runner.message_hub.log_scalars['train/ignored'].current() == 1
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
