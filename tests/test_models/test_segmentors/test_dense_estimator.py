"""Estimators of normals and depth: heads of any size, windows, flips, losses that never are NaN."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

pytest.importorskip('mmseg')

from mmseg.structures import SegDataSample  # noqa: E402

from diff2in1_mm.utils.errors import UserError  # noqa: E402
from diff2in1_mm.utils.kappa import expected_angular_error  # noqa: E402

FPN = dict(
    in_channels=[8] * 3,
    in_index=[0, 1, 2],
    feature_strides=[4, 8, 16],
    channels=16,
    norm_cfg=dict(type='BN'),
    align_corners=False,
    dropout_ratio=0.0,
)
HEADS = dict(
    fpn_normals=('NormalEstimator', dict(type='FPNNormalHead', **FPN)),
    idisc_normals=('NormalEstimator', dict(type='IDiscHead', task='normals', in_channels=8, count=4)),
    bae=('NormalEstimator', dict(type='NormalHead', in_channels=(4, 6, 8, 12, 32), channels=128)),
    fpn_depth=('DepthMapEstimator', dict(type='FPNDepthHead', **FPN)),
    idisc_depth=('DepthMapEstimator', dict(type='IDiscHead', task='depth', in_channels=8, count=4)),
    vpd_depth=(
        'DepthMapEstimator',
        dict(
            type='DepthHead',
            in_channels=[16, 24, 32, 32],
            embed_dim=16,
            feature_dim=128,
            num_deconv_layers=3,
            num_deconv_filters=(16, 16, 16),
        ),
    ),
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def build(name, pipeline_folder, **test_cfg):
    torch.manual_seed(0)
    kind, head = HEADS[name]
    neck = dict(type='FPN', in_channels=[16, 24, 32], out_channels=8, num_outs=3)
    backbone = dict(type='DiffusionBackbone', diffusion=pipeline_folder)
    if name == 'bae':
        backbone['taps'] = 'all'
        built = MODELS.build(backbone)
        groups = list(built.out_channels)
        backbone.update(out_channels=[*groups, groups[-1]], out_strides=[4, 8, 16, 32])
        neck = dict(type='DiffusionAggregator', in_channels=[*groups, groups[-1]], out_channels=(4, 6, 8, 12, 32))
    if name == 'vpd_depth':
        backbone.update(out_channels=[16, 24, 32, 32], out_strides=[4, 8, 16, 32])
        neck = None
    return MODELS.build(
        dict(
            type=kind,
            backbone=backbone,
            neck=neck,
            decode_head=head,
            train_cfg=ConfigDict(),
            data_preprocessor=dict(type='SceneDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3),
            test_cfg=ConfigDict(mode='whole', **test_cfg),
        )
    )


def samples(task, count, size, valid=True):
    found = []
    for i in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
        if task == 'NormalEstimator':
            data = torch.nn.functional.normalize(torch.randn(3, *size), dim=0)
            sample.gt_normal_map = PixelData(data=data * float(valid))
        else:
            sample.gt_depth_map = PixelData(data=(1 + 4 * torch.rand(1, *size)) * float(valid))
        found.append(sample)
    return found


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('size', [(64, 96), (61, 87)])
def test_trains_and_predicts_at_any_size(name, size, pipeline_folder):
    model = build(name, pipeline_folder).train()
    images = torch.rand(2, 3, *size) * 2 - 1
    losses = model.loss(images, samples(HEADS[name][0], 2, size))
    total, _ = model.parse_losses(losses)
    total.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    model.eval()
    original = (100, 80)
    metas = samples(HEADS[name][0], 2, size)
    for meta in metas:
        meta.set_metainfo(dict(ori_shape=original))
    found = model.predict(images, metas)[0]
    if HEADS[name][0] == 'NormalEstimator':
        normals = found.pred_normal_map.data
        assert normals.shape == (3, *original)
        torch.testing.assert_close(normals.norm(dim=0), torch.ones(original))
        assert ('pred_normal_kappa' in found) == (name == 'bae')
        assert ('pred_normal_error' in found) == (name == 'bae')
        if name == 'bae':
            error = found.pred_normal_error.data
            assert error.shape == (1, *original)
            torch.testing.assert_close(error, expected_angular_error(found.pred_normal_kappa.data))
            assert 0 < error.min() and error.max() <= 90
    else:
        depth = found.pred_depth_map.data
        assert depth.shape == (1, *original) and 0 < depth.min() and depth.max() < 10


@pytest.mark.parametrize('name', HEADS)
def test_a_batch_without_ground_truth_contributes_nothing(name, pipeline_folder):
    model = build(name, pipeline_folder).train()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    total, _ = model.parse_losses(model.loss(images, samples(HEADS[name][0], 2, (64, 64), False)))
    total.backward()
    assert total == 0
    for parameter in model.parameters():
        assert parameter.grad is None or (parameter.grad == 0).all()


@pytest.mark.parametrize('name', ['fpn_normals', 'fpn_depth'])
def test_windows_and_flip_in_one_call(name, pipeline_folder):
    model = build(name, pipeline_folder).eval()
    images = torch.rand(2, 3, 64, 96) * 2 - 1
    model.test_cfg.update(mode='slide', crop_size=(64, 64), stride=(32, 16), flip=True)
    calls = []
    encode_decode = model.encode_decode
    model.encode_decode = lambda x, metas: calls.append(len(x)) or encode_decode(x, metas)
    metas = [dict(img_shape=(64, 96), ori_shape=(64, 96), pad_shape=(64, 96))] * 2
    with torch.no_grad():
        whole = model.inference(images, metas)
        assert calls == [8, 4]  # of images, windows and mirror images, eight at once
        model.test_cfg.window_batch = 2 * 3 * 2
        torch.testing.assert_close(model.inference(images, metas), whole, atol=1e-5, rtol=1e-5)
        assert calls[2:] == [12]
        model.test_cfg.window_batch = 1
        # normals of an untrained head are short, and their direction magnifies rounding
        torch.testing.assert_close(model.inference(images, metas), whole, atol=2e-4, rtol=1e-3)
        assert calls[3:] == [2] * 6
        # by hand: the left window alone covers the first columns
        left = images[..., :64]
        crop = [dict(img_shape=(64, 64), pad_shape=(64, 64))] * 2
        both = encode_decode(left, crop), model.unflip(encode_decode(left.flip(-1), crop))
    expected = model.finish((both[0] + both[1]) / 2)
    torch.testing.assert_close(whole[..., :16], expected[..., :16], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('name', ['bae', 'vpd_depth'])
def test_the_mirror_image_shares_the_call(name, pipeline_folder):
    model = build(name, pipeline_folder, flip=True).eval()
    images, calls = torch.rand(2, 3, 64, 96) * 2 - 1, []
    encode_decode = model.encode_decode
    model.encode_decode = lambda x, metas: calls.append(len(x)) or encode_decode(x, metas)
    with torch.no_grad():
        found = model.inference(images, [dict(pad_shape=(64, 96))] * 2)
        back = model.inference(images.flip(-1), [dict(pad_shape=(64, 96))] * 2)
    assert calls == [4, 4]
    # a mirrored image gives the mirrored map
    torch.testing.assert_close(model.unflip(back), found, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('name', ['fpn_normals', 'fpn_depth'])
@pytest.mark.parametrize('flip', [False, True])
def test_padding_and_flip_of_the_pipeline_are_taken_back(name, flip, pipeline_folder):
    model = build(name, pipeline_folder).eval()
    model.data_preprocessor.test_cfg = dict(size=(64, 96))
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    sample = samples(HEADS[name][0], 1, (50, 70))[0]
    sample.set_metainfo(dict(flip=flip, flip_direction='horizontal' if flip else None))
    found = model.test_step(dict(inputs=[image], data_samples=[sample]))[0]
    maps = found.pred_normal_map if name == 'fpn_normals' else found.pred_depth_map
    with torch.no_grad():
        padded = torch.nn.functional.pad(image[None].float() / 127.5 - 1, (0, 26, 0, 14))
        whole = model.encode_decode(padded, [dict(pad_shape=(64, 96))])[..., :50, :70]
    whole = model.unflip(whole) if flip else whole
    torch.testing.assert_close(maps.data, whole[0], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize('direction, axes', [('horizontal', 'x'), ('vertical', 'y'), ('diagonal', 'xy')])
def test_each_flip_is_taken_back(direction, axes, pipeline_folder):
    """Normals of a mirrored scene, made by mirroring its surface."""
    heights = torch.randn(9, 12)

    def slopes(surface):
        y, x = torch.gradient(surface)
        return torch.stack([-x, y, torch.ones_like(x)])[None]  # rows go down, y goes up

    mirrored = heights.flip([dict(x=1, y=0)[axis] for axis in axes])
    found = build('fpn_normals', pipeline_folder).unflip(slopes(mirrored), direction)
    torch.testing.assert_close(found, slopes(heights))
    depth = build('fpn_depth', pipeline_folder).unflip(mirrored[None, None], direction)
    torch.testing.assert_close(depth[0, 0], heights)


SLIDE = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))


@pytest.mark.parametrize(
    'test_cfg, words',
    [
        (dict(mode='slide_flip'), "not 'slide_flip'; for a mirrored pass add flip=True"),
        (dict(SLIDE, stride=(32, 65)), 'leaves gaps between windows.*take a smaller stride'),
        (dict(mode='slide', crop_size=(64, 64)), 'test_cfg.stride is missing: .*two whole numbers of at least 1'),
        (dict(mode='slide', stride=(32, 32)), 'test_cfg.crop_size is missing'),
        (dict(SLIDE, stride=(0, 0)), r"test_cfg.stride = \(0, 0\): mode='slide' takes two whole numbers"),
        (dict(SLIDE, stride=32), "test_cfg.stride = 32: mode='slide' takes two"),
        (dict(SLIDE, window_batch='8'), "test_cfg.window_batch = '8' must be a whole number of at least 1"),
        (dict(SLIDE, window_batch=0), 'test_cfg.window_batch = 0 must be'),
        (dict(window_batch=-1), 'test_cfg.window_batch = -1 must be'),
        (dict(SLIDE, window_bach=4), "DepthMapEstimator has no option 'window_bach'; did you mean 'window_batch'"),
        (dict(flip='yes'), "test_cfg.flip must be one of .*, not 'yes'"),
        ('slide', "test_cfg = 'slide' of DepthMapEstimator must be a dict"),
    ],
)
def test_what_windows_cannot_be_is_named(test_cfg, words):
    # before the backbone is built, which takes long
    model = dict(type='DepthMapEstimator', decode_head=HEADS['fpn_depth'][1], backbone=dict(type='DiffusionBackbone'))
    with pytest.raises(UserError, match=words):
        MODELS.build(dict(model, test_cfg=test_cfg))


def test_training_mode_samples_points(pipeline_folder):
    """``target_mode='train'``: the released code labels with the training-mode forward."""
    model = build('bae', pipeline_folder)
    images, metas = torch.rand(1, 3, 64, 64) * 2 - 1, [dict(pad_shape=(64, 64))]
    with torch.no_grad():
        dense = model.eval().encode_decode(images, metas)
        head = model.decode_head.train()
        sampled = model.encode_decode(images, metas)
    assert head.training and not torch.equal(dense, sampled)
