"""Class weights in float16."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

pytest.importorskip('mmseg.models.losses')
from diff2in1_mm.preflight import class_weights  # noqa: E402

PLAIN = dict(type='mmseg.CrossEntropyLoss')
WEIGHTED = dict(PLAIN, class_weight=[1.0, 2.0])
OURS = dict(type='WeightedCrossEntropyLoss', class_weight=[1.0, 2.0])


class _Amp:
    """As MMEngine's, which needs a GPU."""

    def __init__(self, cast_dtype):
        self.cast_dtype = cast_dtype


@pytest.mark.parametrize(
    'loss, wrapper, refused',
    [
        (WEIGHTED, _Amp(None), True),
        (WEIGHTED, _Amp(torch.float16), True),
        (WEIGHTED, _Amp(torch.bfloat16), False),
        (WEIGHTED, object(), False),
        (PLAIN, _Amp(None), False),
        (OURS, _Amp(None), False),
        (dict(WEIGHTED, use_sigmoid=True), _Amp(None), False),
    ],
)
def test_a_sum_that_float16_cannot_hold_is_refused(monkeypatch, loss, wrapper, refused):
    monkeypatch.setattr(class_weights, 'AmpOptimWrapper', _Amp)
    model = nn.ModuleDict(dict(head=MODELS.build(loss)))
    runner = SimpleNamespace(optim_wrapper=wrapper, model=model)
    if not refused:
        return class_weights.check_half_precision(runner)
    with pytest.raises(ValueError, match='head: in float16 .* the loss is 0: give it type=.WeightedCrossEntropyLoss'):
        class_weights.check_half_precision(runner)
