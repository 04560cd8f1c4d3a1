"""MMSegmentation's kinds of segmentor: each trains, creates, labels itself, resumes, tests."""
import pytest
import torch
from mmengine.runner import Runner

pytest.importorskip('mmseg')

from diff2in1_mm.optional import is_installed  # noqa: E402
from diff2in1_mm.synthesis.store import SyntheticStore  # noqa: E402

from ..segmentors import SEGMENTORS, segmentor_config  # noqa: E402
from .tiny import make_images, train  # noqa: E402
from .watch import CountHook, with_gradients  # noqa: E402


@pytest.fixture(scope='module')
def four_images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp('four'), count=4, size=64)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor(name, four_images, tmp_path, pipeline_folder, counted, untouched):
    if 'former' in name and name != 'segformer' and not is_installed('mmdet'):
        pytest.skip("MMSegmentation's mask transformers are built of MMDetection's parts")
    runner = Runner.from_cfg(segmentor_config(name, four_images, tmp_path, pipeline_folder,
                                              student_view='feature_dropout'))
    seen, passes = [], with_gradients(runner.model)
    runner.register_hook(CountHook(counted, seen))
    runner.train()

    # the frozen model runs once per image, theta_E is not touched, all of it learns
    assert seen[0] == (4, 4) and seen[2] == (4, 4)
    assert untouched and all(same for same, _, _ in untouched)
    assert any(0 < synthetic < total for _, synthetic, total in untouched)
    passes = [names for names in passes if names]  # a validation has none
    trained = {n for n, p in runner.model.named_parameters() if p.requires_grad}
    assert len(passes) == 3 and all(names == trained for names in passes)
    scalars = runner.message_hub.log_scalars
    for figure in ('ignored', 'agreement', 'loss_synthetic'):
        value = scalars[f'train/{figure}'].current()
        assert value == value
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
