import os
import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer

import diff2in1_mm  # noqa: F401


def save(tmp_path, content):
    torch.save(content, tmp_path / 'file.pth')
    return tmp_path / 'file.pth'


def test_history_buffers_load(tmp_path):
    buffer = HistoryBuffer()
    for value in (1, 2.5, 6.0):
        buffer.update(value)
    loaded = torch.load(save(tmp_path, dict(loss=buffer)), weights_only=True)['loss']
    assert loaded.statistics('mean') == pytest.approx(9.5 / 3)
    assert loaded.statistics('max') == 6.0


class Attribute:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner, name):
        self.how = (getattr, (owner, name))

    def __reduce__(self):
        return self.how


class Command:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize('content', [Attribute(HistoryBuffer, '__init__'), Attribute(dict, 'fromkeys'), Command()])
def test_code_in_a_checkpoint_does_not_run(tmp_path, content):
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        torch.load(save(tmp_path, content), weights_only=True)
