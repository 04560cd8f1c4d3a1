"""What stock models' backbones give, and which maps their necks and heads read."""

import pytest
import torch
from torch import nn

from diff2in1_mm.switch_in.built import build_model, load
from diff2in1_mm.switch_in.maps import BackboneMaps, given_maps, measure_maps

from ..segmentors import OF_MMDET, SEGMENTORS


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentors(name):
    pytest.importorskip('mmdet' if name in OF_MMDET else 'mmseg')
    path, channels, strides = SEGMENTORS[name]
    cfg = load(f'mmseg::{path}')
    cfg.default_scope = 'mmseg'
    maps = measure_maps(build_model(cfg, with_backbone=True), side=128)
    assert maps == BackboneMaps(tuple(channels), tuple(strides))


@pytest.mark.parametrize(
    'path, channels, strides',
    [
        ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', (None, 512, 1024, 2048), (4, 8, 16, 32)),
        ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', (256, 512, 1024, 2048), (4, 8, 16, 32)),
        ('mmdet::detr/detr_r50_8xb2-150e_coco.py', (2048,), (32,)),
    ],
)
def test_detectors(path, channels, strides):
    pytest.importorskip('mmdet')
    model = build_model(load(path), with_backbone=True)
    assert measure_maps(model, side=128) == BackboneMaps(channels, strides)


class _Backbone(nn.Module):
    """Gives what it is told, in training and in testing."""

    def __init__(self, training, testing=None):
        super().__init__()
        self.maps = {True: training, False: training if testing is None else testing}

    def forward(self, images):
        return self.maps[self.training]


def model_on(*args):
    model = nn.Module()
    model.backbone = _Backbone(*args)
    return model


def test_backbones_that_a_diffusion_model_cannot_replace():
    one, other = torch.zeros(2, 8, 16, 16), torch.zeros(2, 8, 8, 8)
    for maps in ([(one, torch.zeros(2, 8))], []):
        with pytest.raises(ValueError, match='more than feature maps'):
            measure_maps(model_on(maps), side=64)
    with pytest.raises(ValueError, match='other maps in training than in testing'):
        measure_maps(model_on([one, other], other), side=64)
    with pytest.raises(ValueError, match='the image itself'):
        measure_maps(model_on([torch.zeros(2, 3, 64, 64), one]), side=64)


def only_on_gpus(maps):
    raise RuntimeError('carafe_forward_impl: implementation for device cpu not found.')


def test_what_fails_is_named():
    model = nn.Module()
    model.backbone = nn.Linear(7, 7)
    with pytest.raises(ValueError, match='Linear cannot be run on images of 64 x 64.*out-channels'):
        measure_maps(model, side=64)
    model = model_on([torch.zeros(2, 8, 16, 16)])
    model.with_neck, model.neck = True, nn.Linear(7, 7)
    with pytest.raises(ValueError, match='what follows _Backbone .*another --side, or .*out-strides'):
        measure_maps(model, side=64)
    model.neck.forward = only_on_gpus
    with pytest.raises(ValueError, match='carafe.* not found.: say with --out-channels'):
        measure_maps(model, side=64)


def test_a_model_without_a_neck_reads_what_it_is_given():
    # maps that are a pixel larger, as of some backbones
    model = model_on([torch.zeros(2, 8, 17, 17), torch.zeros(2, 12, 8, 8), torch.zeros(2, 4, 5, 5)])
    assert measure_maps(model, side=64) == BackboneMaps((8, 12, 4), (4, 8, 16))
    assert measure_maps(model_on([torch.zeros(2, 8, 18, 18)]), side=252).strides == (14,)


def test_given_maps():
    assert given_maps([0, 512], [4, 8]) == BackboneMaps((None, 512), (4, 8))
    for channels, strides in (([256], [4, 8]), ([], []), ([0], [4]), ([8], [0]), ([-1, 8], [4, 8])):
        with pytest.raises(ValueError, match='channels'):
            given_maps(channels, strides)
