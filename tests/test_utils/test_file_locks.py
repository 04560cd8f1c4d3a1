import errno
import fcntl
import multiprocessing
import time

import pytest
from filelock import Timeout

from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils import file_locks
from diff2in1_mm.utils.errors import UnusableFileError
from diff2in1_mm.utils.file_locks import file_lock

from ..test_store.samples import PURPOSE, fill

CONTEXT = multiprocessing.get_context('fork')


def hold(path, held, ended):
    with file_lock(path):
        held.set()
        time.sleep(0.5)
        ended.set()


def test_another_process_waits(tmp_path):
    path, held, ended = str(tmp_path / 'lock'), CONTEXT.Event(), CONTEXT.Event()
    other = CONTEXT.Process(target=hold, args=(path, held, ended))
    other.start()
    assert held.wait(30)
    with pytest.raises(Timeout), file_lock(path, timeout=0.05, poll_interval=0.01):
        pass
    with file_lock(path, timeout=30):
        assert ended.is_set()
    other.join()


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    """As on a network file system without a lock service."""

    def refused(descriptor, operation):
        raise OSError(request.param, 'no locks')

    monkeypatch.setattr(fcntl, 'flock', refused)
    monkeypatch.setattr(file_locks, '_told', set())


def test_a_store_is_written_where_there_are_no_locks(tmp_path, no_locks, monkeypatch):
    told = []
    monkeypatch.setattr(file_locks, 'print_log', lambda message, *rest: told.append(message))
    store = SyntheticStore.prepare(tmp_path / 's', **PURPOSE)
    fill(store, range(3))
    assert len(SyntheticStore(tmp_path / 's')) == 3
    assert len(told) == 1 and 'has no locks (no locks): processes that write there at once' in told[0]


def test_what_needs_a_lock_stops_where_there_are_none(tmp_path, no_locks):
    with pytest.raises(UnusableFileError, match=r'has no locks \(no locks\): put it on another one'):
        make_rooms(str(tmp_path / 'rooms'), ['train'], size=(32, 48), counts=dict(train=1), workers=1)
