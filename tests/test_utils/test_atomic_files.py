import os
import signal

import pytest

from diff2in1_mm.utils import atomic_files as files
from diff2in1_mm.utils.atomic_files import write_atomic


def test_write_leaves_the_old_content_when_it_fails(tmp_path, monkeypatch):
    write_atomic(tmp_path / 'file', b'old')

    def full(descriptor):
        raise OSError('disk full')

    monkeypatch.setattr(files.os, 'fsync', full)
    with pytest.raises(OSError, match='disk full'):
        write_atomic(tmp_path / 'file', b'new')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    assert (tmp_path / 'file').read_bytes() == b'old'


def test_killed_while_writing(tmp_path):
    """The process ends, as by SIGKILL, before the new file has its name."""
    write_atomic(tmp_path / 'file', b'old')
    child = os.fork()
    if child == 0:
        files.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(tmp_path / 'file', b'new')
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (tmp_path / 'file').read_bytes() == b'old'
    assert len(files.remove_leftovers(tmp_path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ['file']
