"""Which models bfloat16 autocast refuses, and where."""

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack, MultiScaleDeformableAttention, RoIAlign
from torch import nn

from diff2in1_mm.hooks import bf16_optim_wrapper
from diff2in1_mm.hooks.bf16_optim_wrapper import Bf16OptimWrapper

from ..versions import needs_detectors


class FocalLoss(nn.Module):
    """Named as MMSegmentation's and MMDetection's."""


ROI, ATTENTION, LOSS = RoIAlign(3), MultiScaleDeformableAttention(32), FocalLoss()
CONVOLUTION = ModulatedDeformConv2dPack(4, 4, 3, padding=1)


def enter(module):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), module)
    wrapper = Bf16OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with wrapper.optim_context(model):
        return model[0](torch.zeros(1, 3, 4, 4)).dtype


@pytest.mark.parametrize(
    'device, module, words',
    [
        ('cpu', ROI, 'on a CPU is not for two-stage.*RoIAlign.*float32.*on a GPU in float16'),
        ('cpu', CONVOLUTION, 'ModulatedDeformConv2dPack has no bfloat16: leave it out'),
        ('cuda', ROI, "operator of RoIAlign has no bfloat16: set optim_wrapper.type='AmpOptimWrapper'"),
        ('cuda', CONVOLUTION, 'ModulatedDeformConv2dPack'),
        ('cuda', ATTENTION, 'operator of MultiScaleDeformableAttention has no'),
        ('cuda', LOSS, 'operator of FocalLoss has no'),
    ],
)
def test_models_with_operators_without_bfloat16_are_refused(monkeypatch, device, module, words):
    monkeypatch.setattr(bf16_optim_wrapper, 'get_device', lambda: device)
    with pytest.raises(ValueError, match=words):
        enter(module)


@pytest.mark.parametrize('module', [ATTENTION, LOSS, nn.ReLU()])
def test_what_computes_without_them_is_not(monkeypatch, module):
    monkeypatch.setattr(bf16_optim_wrapper, 'get_device', lambda: 'cpu')
    assert enter(module) == torch.bfloat16


@needs_detectors
def test_the_operators_have_no_bfloat16():
    """If one does some day, it need not be refused any more."""
    maps = torch.randn(1, 4, 8, 8, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match='BFloat16'):
        ROI(maps, torch.tensor([[0, 1, 1, 6, 6]], dtype=torch.bfloat16))
    with pytest.raises(RuntimeError, match='BFloat16'), torch.autocast('cpu', torch.bfloat16):
        CONVOLUTION(maps)


def test_modules_are_walked_once(monkeypatch):
    model, walks = nn.Sequential(nn.Conv2d(3, 3, 1)), []
    modules = model.modules
    model.modules = lambda: walks.append(1) or modules()
    wrapper = Bf16OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    monkeypatch.setattr(bf16_optim_wrapper, 'get_device', lambda: 'cpu')
    walks.clear()
    for _ in range(3):
        with wrapper.optim_context(model):
            pass
    assert len(walks) == 1
