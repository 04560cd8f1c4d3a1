"""What the tools say of checkpoints, devices and folders that cannot serve."""

import os
import pickle

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, check_resumable, load_weights, read_checkpoint
from diff2in1_mm.preflight.machine import check_device, check_writable


class Code:
    """Something that a checkpoint may not hold."""


def small(classes=2, **more):
    return nn.ModuleDict(
        dict(body=nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), head=nn.Conv2d(4, classes, 1), **more)
    )


class TestCheckpoint:
    def test_a_folder_names_its_newest(self, tmp_path):
        with pytest.raises(IsADirectoryError, match='there is none in it'):
            check_checkpoint(str(tmp_path))
        for age, name in ((5, 'iter_10.pth'), (50, 'iter_9.pth')):
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
        with pytest.raises(IsADirectoryError, match='the newest one in it, .*iter_10.pth'):
            check_checkpoint(str(tmp_path))

    def test_other_machines_are_not_asked(self):
        check_checkpoint('s3://bucket/iter_10.pth')

    @pytest.mark.parametrize(
        'write, why',
        [
            (lambda path: path.write_text('import os'), 'no file of torch.save'),
            (lambda path: path.write_bytes(b''), 'no file of torch.save'),
            (lambda path: path.write_bytes(pickle.dumps(dict(a=1), 2)), 'no file of torch.save'),
            (lambda path: path.write_bytes(b'PK\x03\x04' + bytes(300)), 'it is damaged'),
            (lambda path: torch.save(dict(state_dict={}, x=Code()), path), 'which could run code'),
            (lambda path: torch.save(torch.zeros(2), path), 'no weights by name'),
        ],
    )
    def test_what_is_no_checkpoint_is_told_in_a_sentence(self, tmp_path, write, why):
        path = tmp_path / 'any.pth'
        write(path)
        with pytest.raises(ValueError) as raised:
            read_checkpoint(str(path))
        said = str(raised.value)
        assert said.startswith(f'{path} cannot be read') and why in said and '\n' not in said

    @pytest.mark.parametrize('zipped', [True, False])
    def test_both_formats_are_read(self, tmp_path, zipped):
        path = str(tmp_path / 'any.pth')
        torch.save(dict(state_dict=dict(a=torch.ones(3))), path, _use_new_zipfile_serialization=zipped)
        assert read_checkpoint(path)['state_dict']['a'].sum() == 3


class TestWeights:
    @pytest.mark.parametrize(
        'other, why',
        [
            (dict(backbone=nn.Conv2d(3, 4, 1)), 'Missing key(s): body.0.weight, body.0.bias, body.1.weight and 5 more'),
            (small(classes=3), 'size mismatch for head.weight'),
            (small(neck=nn.Conv2d(3, 4, 1)), 'Unexpected key(s): neck.weight, neck.bias)'),
        ],
    )
    def test_another_model_is_refused(self, other, why):
        with pytest.raises(ValueError) as raised:
            load_weights(small(), dict(state_dict=nn.ModuleDict(other).state_dict()), 'a.pth')
        said = str(raised.value)
        assert said.startswith('a.pth does not fit the model of the config (')
        assert why in said and '\n' not in said

    def test_what_does_not_matter_may_lack_or_be_there(self):
        source, model = small(auxiliary_head=nn.Conv2d(4, 2, 1)), small()
        state = {f'module.{key}': value for key, value in source.state_dict().items() if 'num_batches' not in key}
        load_weights(model, dict(state, **{'data_preprocessor.mean': torch.zeros(3)}), 'a.pth')
        assert torch.equal(model.head.weight, source.head.weight)

    def test_wrapped_models(self):
        from mmengine.model import BaseTTAModel

        class Votes(BaseTTAModel):
            merge_preds = None

        class Model(BaseModel):
            def __init__(self):
                super().__init__()
                self.head = nn.Conv2d(4, 2, 1)

            def forward(self, inputs):
                """Not used."""

        source, wrapped = Model(), Votes(Model())
        load_weights(wrapped, dict(state_dict=source.state_dict()), 'a.pth')
        assert torch.equal(wrapped.module.head.weight, source.head.weight)


@pytest.mark.parametrize('device, why', [('cuda', 'torch'), ('gpu', 'Expected one of'), ('xpu:0', 'xpu')])
def test_devices_that_are_not_there(monkeypatch, device, why):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError) as raised:
        check_device(device)
    said = str(raised.value)
    assert said.startswith(f'--device {device} cannot be used (') and why in said
    assert '\n' not in said and said.endswith('such as cpu, or leave it out')


def test_a_number_that_no_gpu_has(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    check_device('cuda:1')
    with pytest.raises(ValueError, match='there are 2 GPUs'):
        check_device('cuda:2')


def test_devices_that_are():
    check_device('cpu')
    check_device(None)


def test_folders(tmp_path):
    check_writable(str(tmp_path / 'new' / 'newer'), '--out')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').touch()
    for place in (tmp_path / 'file' / 'below', tmp_path / 'file', '/proc/nothing'):
        with pytest.raises(OSError, match=f'^--out {place} cannot be written'):
            check_writable(str(place), '--out')


@pytest.mark.parametrize(
    'content, lacking',
    [
        (dict(a=torch.zeros(1)), 'lacks meta.epoch, meta.iter, state_dict, message_hub'),
        (dict(state_dict={}, message_hub={}, meta=dict(iter=3)), 'lacks meta.epoch:'),
    ],
)
def test_what_cannot_be_resumed_is_told(content, lacking):
    with pytest.raises(ValueError, match=f'^w.pth cannot be resumed, as it {lacking}.*load_from, without --resume$'):
        check_resumable(content, 'w.pth')
    check_resumable(dict(state_dict={}, message_hub={}, meta=dict(epoch=0, iter=3)), 'w.pth')
