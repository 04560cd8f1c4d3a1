"""What stock models' backbones give, and which maps their necks and heads read."""
import pytest
import torch
from torch import nn

from diff2in1_mm.switch_in import BackboneMaps, given_maps, measure_maps
from diff2in1_mm.switch_in.built import build_model, load

from ..segmentors import SEGMENTORS


@pytest.mark.parametrize('name', ['sem_fpn', 'segnext', 'pspnet', 'deeplabv3plus'])
def test_segmentors(name):
    pytest.importorskip('mmseg')
    path, channels, strides = SEGMENTORS[name]
    cfg = load(f'mmseg::{path}')
    cfg.default_scope = 'mmseg'
    maps = measure_maps(build_model(cfg, with_backbone=True), side=128)
    assert maps == BackboneMaps(tuple(channels), tuple(strides))


@pytest.mark.parametrize('path, channels, strides', [
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', (None, 512, 1024, 2048), (4, 8, 16, 32)),
    ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', (256, 512, 1024, 2048),
     (4, 8, 16, 32)),
    ('mmdet::detr/detr_r50_8xb2-150e_coco.py', (2048, ), (32, ))])
def test_detectors(path, channels, strides):
    pytest.importorskip('mmdet')
    model = build_model(load(path), with_backbone=True)
    assert measure_maps(model, side=128) == BackboneMaps(channels, strides)


class _Model(nn.Module):
    """A model around a backbone that gives ``maps``."""

    def __init__(self, *maps):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.forward = lambda images: maps


def test_a_backbone_that_gives_more_than_maps():
    tokens = (torch.zeros(1, 8, 4, 4), torch.zeros(1, 8))
    with pytest.raises(ValueError, match='more than feature maps'):
        measure_maps(_Model(tokens))
    with pytest.raises(ValueError, match='more than feature maps'):
        measure_maps(_Model())


def test_a_backbone_that_fails():
    model = _Model()
    model.backbone = nn.Linear(7, 7)
    with pytest.raises(ValueError, match='64 x 64 pixels.*give another --side'):
        measure_maps(model, side=64)


def test_a_model_without_a_neck_reads_what_it_is_given():
    maps = measure_maps(_Model(torch.zeros(1, 8, 16, 16), torch.zeros(1, 12, 8, 8)), side=64)
    assert maps == BackboneMaps((8, 12), (4, 8))


def test_given_maps():
    assert given_maps([0, 512], [4, 8]) == BackboneMaps((None, 512), (4, 8))
    for channels, strides in (([256], [4, 8]), ([], []), ([0], [4]), ([8], [0]), ([-1, 8], [4, 8])):
        with pytest.raises(ValueError, match='channels'):
            given_maps(channels, strides)
