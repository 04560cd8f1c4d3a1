"""Whole samples only, whoever writes and whatever dies."""

import contextlib
import multiprocessing
import os
import random
import signal
import time

import numpy as np

from diff2in1_mm.store import layout, store as store_module
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.png import encode_png

from ..stores import read_one, records_written
from .samples import PURPOSE, fill, make_record, make_sample


def test_leftovers_of_killed_writers(store):
    fill(store, [1])
    folder = store.root / 'images/r000_s00000'
    left = [folder / f'.r000.png.{77:032x}.tmp', folder / 'r000_s0000009_k00.png', store.root / f'.index.{77:032x}.tmp']
    for path in left:
        path.write_bytes(b'x')
    assert len(SyntheticStore(store.root)) == 1
    SyntheticStore.prepare(store.root, **PURPOSE)
    assert all(path.exists() for path in left)  # their writer may be alive
    for path in left[:2]:
        os.utime(path, times=(time.time() - 2 * layout.DEAD_AFTER,) * 2)
    SyntheticStore.prepare(store.root, **PURPOSE)
    assert [path.exists() for path in left] == [False, False, True]
    assert len(SyntheticStore(store.root)) == 1 and len(list(store.root.rglob('*.png'))) == 2


def test_refresh_sees_other_writers(store):
    reader = SyntheticStore(store.root)
    fill(store, [4])
    assert len(reader) == 0
    reader.refresh()
    assert [r.id for r in reader.records()] == [SyntheticStore.sample_id(0, 4, 0)]


CONTEXT = multiprocessing.get_context('fork')


def write_all(root, total, marker):
    """Body of a writer process: every sample, marked by who wrote it."""
    store = SyntheticStore.prepare(root, **PURPOSE)
    for source in range(total):
        image, annotations = make_sample(source)
        image[-1], annotations['segmentation'][-1] = marker, marker % 3
        store.add(make_record(source, caption=str(marker)), image, annotations)


def assert_whole(root):
    """Every record's files decode, and image, annotation and record are of one writer."""
    store = SyntheticStore(root)
    assert not store.damaged
    for record in store.records():
        image, annotation = read_one(store, record)
        assert image[0, 0, 0] == record.source % 256
        marker = int(record.caption)
        assert (image[-1] == marker).all() and (annotation[-1] == marker % 3).all()
    return len(store)


def test_many_processes(tmp_path):
    writers = [CONTEXT.Process(target=write_all, args=(tmp_path / 's', 30, m)) for m in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert assert_whole(tmp_path / 's') == 30
    assert len(list((tmp_path / 's').rglob('*.png'))) == 60


def test_killed_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, 'DEAD_AFTER', 0)  # the killed writer has no other beside it
    random.seed(0)
    counts = [0]
    for attempt in range(20):
        writer = CONTEXT.Process(target=write_all, args=(tmp_path / 's', 200, attempt))
        writer.start()
        deadline = time.monotonic() + 60
        while records_written(tmp_path / 's') == counts[-1] and time.monotonic() < deadline:
            time.sleep(0.001)  # it has begun where the last one was killed
        time.sleep(random.uniform(0, 0.01))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        counts.append(assert_whole(tmp_path / 's'))
    assert counts == sorted(set(counts)) and counts[-1] < 200
    write_all(tmp_path / 's', 200, 20)
    assert assert_whole(tmp_path / 's') == 200
    SyntheticStore.prepare(tmp_path / 's', **PURPOSE)
    files = [p for p in (tmp_path / 's').rglob('*') if p.is_file() and p.parent.name != 'records']
    assert len(files) == 2 * 200 + 2


def write_beside(both, *args):
    """Samples at the same time as another process."""
    both.wait(60)
    write_all(*args)


def test_two_writers_that_cannot_see_each_others_locks(tmp_path, monkeypatch):
    """As on two machines, over a network file system without locks: both make the same samples, otherwise."""
    monkeypatch.setattr(store_module, '_lock', lambda root: contextlib.nullcontext())
    SyntheticStore.prepare(tmp_path / 's', **PURPOSE)
    both = CONTEXT.Barrier(2)  # on a busy machine one would be done before the other begins
    writers = [CONTEXT.Process(target=write_beside, args=(both, tmp_path / 's', 60, marker)) for marker in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    shards = list((tmp_path / 's/records').iterdir())
    assert len(shards) == 2  # each writer's own
    store = SyntheticStore(tmp_path / 's', warn=False)
    whole = [record for record in store.records() if record.id not in store.damaged]
    assert len(whole) + len(store.damaged) == 60
    for record in whole:
        image, annotation = read_one(store, record)
        marker = int(record.caption)
        assert (image[-1] == marker).all() and (annotation[-1] == marker % 3).all()
    write_all(tmp_path / 's', 60, 2)  # what is of two writers is made again
    assert assert_whole(tmp_path / 's') == 60


def test_files_of_two_writers_are_told_by_their_checksums(store, monkeypatch):
    """Both put down their files and then their records, in turns, with files of one size."""
    (_, annotations), (image, other) = make_sample(4), (np.full((12, 16, 3), value, np.uint8) for value in (7, 9))
    assert len(encode_png(image)) == len(encode_png(other))
    monkeypatch.setattr(store_module, '_lock', lambda root: contextlib.nullcontext())
    second = SyntheticStore(store.root)
    real = os.replace

    def replace(source, target):
        real(source, target)
        if str(target).endswith('.png') and 'images' in str(target):
            monkeypatch.setattr(os, 'replace', real)
            monkeypatch.setattr(SyntheticStore, '_is_there', lambda self, id: False)
            second.add(make_record(4, caption='second'), other, annotations)

    monkeypatch.setattr(os, 'replace', replace)
    store.add(make_record(4, caption='first'), image, annotations)
    (record,) = SyntheticStore(store.root).records()
    assert record.caption == 'second' and (read_one(store, record)[0] == other).all()
