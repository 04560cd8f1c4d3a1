"""Windows in batches: the maps of MMSegmentation's loop, in fewer passes."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmseg')

from mmseg.structures import SegDataSample  # noqa: E402

from diff2in1_mm.hooks.batched_windows import BatchedWindowsHook  # noqa: E402
from diff2in1_mm.models.segmentors.windows import batch_windows, window_corners  # noqa: E402
from tests.segmentors import stock_segmentor  # noqa: E402
from tests.tiny_runs import config as tiny_config  # noqa: E402


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def build(name, pipeline_folder, **test_cfg):
    torch.manual_seed(0)
    cfg = stock_segmentor(name, pipeline_folder)
    cfg['test_cfg'].update(mode='slide', crop_size=(64, 64), stride=(43, 43), **test_cfg)
    cfg['data_preprocessor'].pop('size')
    model = MODELS.build(ConfigDict(cfg)).eval()
    model.passes = []
    model.backbone.register_forward_pre_hook(lambda module, args: model.passes.append(len(args[0])))
    return model


def samples(size, count):
    return [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, img_path=str(i))) for i in range(count)]


@torch.no_grad()
@pytest.mark.parametrize('name', ['sem_fpn', 'point_rend'])
def test_windows_share_passes_and_give_the_same_maps(name, pipeline_folder):
    model, images = build(name, pipeline_folder), torch.rand(2, 3, 140, 100) * 2 - 1
    metas = [dict(img_shape=(140, 100), ori_shape=(140, 100))] * 2
    expected = model.inference(images, metas)
    assert model.passes == [2] * 6  # MMSegmentation's own: three rows of two windows
    hook = BatchedWindowsHook()
    for event in (hook.before_val, hook.before_test):
        event(SimpleNamespace(model=model))
    torch.testing.assert_close(model.inference(images, metas), expected, atol=1e-5, rtol=1e-5)
    assert model.passes[6:] == [8, 4]
    model.test_cfg.window_batch = 1  # less than the images of a batch: a window of each
    torch.testing.assert_close(model.inference(images, metas), expected, atol=1e-5, rtol=1e-5)
    assert model.passes[8:] == [2] * 6


def test_mirror_images_share_passes_and_give_the_same_labels(pipeline_folder):
    model = build('sem_fpn', pipeline_folder)
    images = list(torch.randint(0, 256, (1, 3, 140, 100), dtype=torch.uint8))

    def predict(kind):
        """The image, its mirror image, and a smaller view."""
        views = [samples((140, 100), 1) for _ in range(3)]
        views[1][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
        inputs = [images, [images[0].flip(-1)], [images[0][:, :64, :64]]]
        model.passes.clear()
        return MODELS.build(dict(type=kind, module=model)).test_step(dict(inputs=inputs, data_samples=views))

    expected = predict('SegTTAModel')
    assert model.passes == [1] * 13
    assert batch_windows(model)
    found = predict('BatchedSegTTAModel')
    assert model.passes == [8, 4, 1]
    assert len(found) == len(expected) == 1 and found[0].img_path == '0'
    torch.testing.assert_close(found[0].seg_logits.data, expected[0].seg_logits.data, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0].pred_sem_seg.data, expected[0].pred_sem_seg.data)


def test_other_models_keep_their_loop(tmp_path):
    model = MODELS.build(tiny_config(tmp_path, tmp_path).model)  # its backbone is trained
    assert not batch_windows(model) and 'slide_inference' not in vars(model)


@pytest.mark.parametrize(
    'changed, words',
    [
        (dict(stride=(70, 43)), 'leaves gaps between windows.*take a smaller stride'),
        (dict(stride=43), "test_cfg.stride = 43: mode='slide' takes two whole numbers"),
        (dict(window_batch='8'), "test_cfg.window_batch = '8' must be a whole number of at least 1"),
    ],
)
def test_gaps_are_named(pipeline_folder, changed, words):
    model = build('sem_fpn', pipeline_folder)
    batch_windows(model)
    model.test_cfg.update(changed)
    with pytest.raises(ValueError, match=words):
        model.inference(torch.rand(1, 3, 140, 100) * 2 - 1, [dict(ori_shape=(140, 100))])


def test_windows_cover_the_image():
    assert window_corners((64, 96), (64, 64), (32, 16)) == [(0, 0), (0, 16), (0, 32)]
    assert window_corners((10, 10), (10, 10), (5, 5)) == [(0, 0)]
    assert window_corners((10, 11), (8, 8), (5, 5)) == [(0, 0), (0, 3), (2, 0), (2, 3)]
