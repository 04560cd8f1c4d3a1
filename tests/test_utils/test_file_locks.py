import errno
import fcntl
import multiprocessing
import time

import pytest
from filelock import Timeout

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils import file_locks
from diff2in1_mm.utils.file_locks import file_lock

from ..test_store.samples import PURPOSE, fill

CONTEXT = multiprocessing.get_context('fork')


def hold(path, held, seconds):
    with file_lock(path):
        held.set()
        time.sleep(seconds)


def test_another_process_waits(tmp_path):
    path, held = str(tmp_path / 'lock'), CONTEXT.Event()
    other = CONTEXT.Process(target=hold, args=(path, held, 0.5))
    other.start()
    assert held.wait(30)
    with pytest.raises(Timeout), file_lock(path, timeout=0.05, poll_interval=0.01):
        pass
    with file_lock(path, timeout=30):
        assert not other.is_alive() or other.join(5) is None
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
