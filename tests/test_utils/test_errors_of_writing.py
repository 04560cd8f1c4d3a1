"""What is said where the system refuses to write or to read: the path, the mend, and nothing untrue."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from diff2in1_mm.hooks.checkpoint import _written_whole
from diff2in1_mm.hooks.read_checkpoint import read_checkpoint
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence
from diff2in1_mm.utils.pictures import write_picture

SAID = [
    (errno.ENOSPC, 'no space left for {}: free some, then --resume'),
    (errno.EDQUOT, 'the disk quota is used up at {}: free'),
    (errno.EROFS, '{} lies on a read-only file system: give'),
    (errno.EACCES, 'no permission for {}: change'),
]


def refusing(number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize('number, words', SAID)
def test_a_refused_write_is_named_and_leaves_the_old_file(tmp_path, monkeypatch, number, words):
    path = tmp_path / 'summary.json'
    path.write_text('old')
    monkeypatch.setattr(os, 'fsync', refusing(number))
    with pytest.raises(UserError) as raised:
        write_atomic(path, b'new')
    assert str(raised.value).startswith(words.format(path))
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['summary.json']


def test_errors_of_other_kinds_keep_their_words(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', refusing(errno.EIO))
    with pytest.raises(OSError, match='Input/output error') as raised:
        write_atomic(tmp_path / 'a', b'')
    assert not isinstance(raised.value, UserError)


def test_pictures_and_stores_name_their_path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'replace', refusing(errno.ENOSPC))
    with pytest.raises(UserError, match=f'no space left for {tmp_path}/preview.png'):
        write_picture(tmp_path / 'preview.png', np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr(Path, 'mkdir', refusing(errno.EROFS))
    with pytest.raises(UserError, match=f'{tmp_path}/store lies on a read-only file system'):
        SyntheticStore.prepare(tmp_path / 'store', ['segmentation'], ['a'], 'print', {})


def test_checkpoints_of_strategies_name_their_path(tmp_path):
    def torch_says(filename):
        raise RuntimeError('[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/0')

    path = str(tmp_path / 'iter_8.pth')
    with pytest.raises(UserError, match=f'{path} could not be written .*MiB are free there'):
        _written_whole(torch_says)(path)
    with pytest.raises(UserError, match=f'no space left for {path}'):
        _written_whole(refusing(errno.ENOSPC))(path)
    with pytest.raises(RuntimeError, match='of another kind'):
        _written_whole(lambda filename: (_ for _ in ()).throw(RuntimeError('of another kind')))(path)


@pytest.mark.parametrize('named, place', [('/logs/a.json', '/logs/a.json'), (None, '/work')])
def test_commands_name_the_path_of_files_that_libraries_write(capsys, named, place):
    with pytest.raises(SystemExit) as ended, told_in_a_sentence('train.py', '/work'):
        raise OSError(errno.ENOSPC, 'No space left on device', named)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f'train.py: no space left for {place}: free some, then --resume\n'


def test_a_full_disk_is_told_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', refusing(errno.ENOSPC))
    with pytest.raises(UserError, match='--work-dir: no space left for .*wd: free some'):
        check_writable(str(tmp_path / 'wd'), '--work-dir')


def test_a_checkpoint_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    torch.save({}, path)
    monkeypatch.setattr(torch, 'load', refusing(errno.EACCES))
    with pytest.raises(UserError, match=f'{path} cannot be read .*Permission denied') as raised:
        read_checkpoint(str(path))
    assert 'damaged' not in str(raised.value)
