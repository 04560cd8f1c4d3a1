"""Checkpoints are read as data, from wherever they lie."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer

import diff2in1_mm  # noqa: F401
from diff2in1_mm.hooks.read_checkpoint import check_some_fit, read_checkpoint
from diff2in1_mm.utils import compat
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.errors import UserError

from ..hostile_files import Code


@pytest.fixture(params=['by torch', 'by names'], autouse=True)
def reader(request, monkeypatch):
    """Both ways to read: torch's own from 2.6 on, and that for torch 2.1 to 2.5, which works with all."""
    if request.param == 'by torch' and not compat._TORCH_ALLOWS_NAMES:
        pytest.skip(f'torch {torch.__version__} takes no names of its own (2.6 does)')
    monkeypatch.setattr(compat, '_TORCH_ALLOWS_NAMES', request.param == 'by torch')


def save(tmp_path, content):
    torch.save(content, tmp_path / 'file.pth')
    return tmp_path / 'file.pth'


def test_history_buffers_load(tmp_path):
    buffer = HistoryBuffer()
    for value in (1, 2.5, 6.0):
        buffer.update(value)
    loaded = load_weights_only(save(tmp_path, dict(loss=buffer)))['loss']
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
        load_weights_only(save(tmp_path, content))


def test_a_program_is_no_checkpoint(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'file.pth')
    for file in (tmp_path / 'file.pth', io.BytesIO((tmp_path / 'file.pth').read_bytes())):
        with pytest.raises((pickle.UnpicklingError, RuntimeError), match='TorchScript'):
            load_weights_only(file)


def test_tensors_of_every_kind_and_numpys_numbers_load(tmp_path):
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool, torch.int64]
    content = dict(
        tensors=[torch.ones(2, 3).to(kind) for kind in kinds],
        dtype=torch.bfloat16,
        number=np.float64(0.5),
        array=np.arange(3, dtype=np.int32),
        module=OrderedDict(weight=torch.nn.Parameter(torch.zeros(2))),
        meta=ConfigDict(classes=('a', 'b')),
    )
    loaded = load_weights_only(save(tmp_path, content), 'cpu', mmap=True)
    assert [tensor.dtype for tensor in loaded['tensors']] == kinds and loaded['dtype'] is torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(loaded['tensors'], content['tensors']))
    assert loaded['number'] == 0.5 and loaded['array'].tolist() == [0, 1, 2] and loaded['meta'] == content['meta']
    assert isinstance(loaded['module']['weight'], torch.nn.Parameter)


def test_files_of_before_torch_16_load(tmp_path):
    torch.save(dict(a=torch.arange(3)), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert load_weights_only(tmp_path / 'old.pth')['a'].tolist() == [0, 1, 2]


class Remote(LocalBackend):
    folder = ''

    def get(self, filepath):
        return Path(self.folder, str(filepath).partition('://')[2]).read_bytes()


register_backend('remote_of_tests', Remote, force=True, prefixes='toremote')


def test_remote_checkpoints_are_data_only(tmp_path, monkeypatch):
    monkeypatch.setattr(Remote, 'folder', str(tmp_path))
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'good.pth')
    assert read_checkpoint('toremote://good.pth')['state_dict']['a'].sum() == 2
    torch.save(dict(state_dict={}, x=Code(tmp_path)), tmp_path / 'bad.pth')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0')
    with pytest.raises(UserError, match='toremote://bad.pth .*could run code'):
        read_checkpoint('toremote://bad.pth')
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize(
    'weights, fits',
    [
        ({'module.0.weight': (3, 2), 'head.weight': (9,)}, True),
        ({'0.weight': (4, 2), '1.bias': (3,)}, True),
        ({'0.weight': (4, 2), '1.num_batches_tracked': ()}, False),  # a counter is of every model
        ({'backbone.0.weight': (3, 2)}, False),
        ({}, False),
    ],
)
def test_some_of_the_weights_have_to_fit(weights, fits):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    content = {name: torch.zeros(shape) for name, shape in weights.items()}
    for given in (content, dict(state_dict=content, meta={})):
        if fits:
            check_some_fit(model, given, 'a.pth')
            continue
        with pytest.raises(UserError, match=f'a.pth is of another model: .*{next(iter(weights), "empty")}'):
            check_some_fit(model, given, 'a.pth')
