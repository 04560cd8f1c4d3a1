import os
import os.path as osp

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.fileio.file_client import BaseStorageBackend
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from diff2in1_mm.hooks.checkpoint import AtomicCheckpointHook, AtomicLocalBackend
from diff2in1_mm.utils.compat import load_weights_only

# what MMEngine itself keeps beside tensors: names, palettes, nested settings
METAINFO = dict(classes=('a', 'b'), palette=np.zeros((2, 3), np.uint8), label_map=ConfigDict({'1': ConfigDict(x=2)}))


class Numbers(Dataset):
    metainfo = METAINFO

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        out = self.layer(torch.stack(list(inputs)))
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


def runner(work_dir, iters=4, resume=False, **checkpoint):
    checkpoint = dict(type='AtomicCheckpointHook', by_epoch=False, interval=1, **checkpoint)
    return Runner(
        Line(),
        str(work_dir),
        experiment_name=f'atomic-{work_dir}-{iters}',
        train_dataloader=dict(dataset=Numbers(), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='PolyLR', by_epoch=False, end=100),
        default_hooks=dict(checkpoint=checkpoint),
        resume=resume,
        randomness=dict(seed=0),
    )


def files(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.tmp')))


def test_saves_resumes_and_prunes(tmp_path):
    runner(tmp_path, 3, max_keep_ckpts=2).train()
    assert files(tmp_path) == ['iter_2.pth', 'iter_3.pth']
    checkpoint = load_weights_only(tmp_path / 'iter_3.pth')
    assert checkpoint['message_hub']['runtime_info']['keep_ckpt_ids'][-1] == 3

    (tmp_path / f'.iter_4.pth.{"0" * 32}.tmp').write_bytes(b'half')
    resumed = runner(tmp_path, 5, resume=True, max_keep_ckpts=2)
    resumed.train()
    assert resumed.iter == 5
    assert files(tmp_path) == ['iter_4.pth', 'iter_5.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_5.pth')


def test_writes_before_it_removes(tmp_path, monkeypatch):
    events = []
    replace, remove = os.replace, os.remove
    monkeypatch.setattr(os, 'replace', lambda a, b: (events.append(('write', osp.basename(b))), replace(a, b)))
    monkeypatch.setattr(os, 'remove', lambda a: (events.append(('remove', osp.basename(a))), remove(a)))
    runner(tmp_path, 2, max_keep_ckpts=1).train()
    assert events == [
        ('write', 'iter_1.pth'),
        ('write', 'last_checkpoint'),
        ('write', 'iter_2.pth'),
        ('write', 'last_checkpoint'),
        ('remove', 'iter_1.pth'),
    ]


def test_save_best_removes_the_former_best_last(tmp_path, monkeypatch):
    training = runner(tmp_path, 1, save_best='mIoU')
    training.train()
    hook = next(h for h in training.hooks if isinstance(h, AtomicCheckpointHook))
    hook.after_val_epoch(training, {'mIoU': 1.0})
    first = osp.basename(hook.best_ckpt_path)
    training.train_loop._iter += 1

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, 'save_checkpoint', fail)
        with pytest.raises(KeyboardInterrupt):
            hook.after_val_epoch(training, {'mIoU': 2.0})
    assert first in files(tmp_path)  # killed while it wrote the new best

    training.message_hub.update_info('best_score', 1.0)
    hook.best_ckpt_path = str(tmp_path / first)
    hook.after_val_epoch(training, {'mIoU': 2.0})
    best = [name for name in files(tmp_path) if name.startswith('best')]
    assert best == [osp.basename(hook.best_ckpt_path)] and best != [first]

    hook.after_val_epoch(training, {'mIoU': 3.0})  # the same step evaluated again
    assert osp.isfile(hook.best_ckpt_path)


@pytest.fixture
def bucket():
    """What a store that is known by the prefix ``bucket://`` was given, by address."""

    class Bucket(LocalBackend):
        files = {}

        def join_path(self, path, *paths):
            return '/'.join([path, *paths])

        def put(self, obj, filepath):
            self.files[filepath] = obj

        def isfile(self, filepath):
            return filepath in self.files

        def remove(self, filepath):
            del self.files[filepath]

    class Client(BaseStorageBackend):  # asked for by the stock hook, but never used
        get = get_text = None

    register_backend('bucket', Bucket, prefixes='bucket', force=True)
    FileClient.register_backend('bucket', Client, prefixes='bucket', force=True)
    return Bucket.files


@pytest.mark.parametrize('backend_args', [None, dict(backend='bucket')])
def test_a_remote_folder_is_written_by_its_store(tmp_path, monkeypatch, bucket, backend_args):
    monkeypatch.chdir(tmp_path)
    runner(tmp_path / 'run', 3, max_keep_ckpts=2, out_dir='bucket://kept', backend_args=backend_args).train()
    assert list(bucket) == ['bucket://kept/run/iter_2.pth', 'bucket://kept/run/iter_3.pth']
    assert os.listdir(tmp_path) == ['run'] and files(tmp_path / 'run') == []
    last = (tmp_path / 'run' / 'last_checkpoint').read_text()
    assert last == 'bucket://kept/run/iter_3.pth'


def test_a_local_folder_elsewhere_is_written_atomically(tmp_path):
    training = runner(tmp_path / 'work', 1, out_dir=str(tmp_path / 'kept'))
    training.train()
    hook = next(h for h in training.hooks if isinstance(h, AtomicCheckpointHook))
    assert isinstance(hook.file_backend, AtomicLocalBackend)
    assert files(tmp_path / 'kept' / 'work') == ['iter_1.pth']
