"""Whole samples only, whoever writes and whatever dies."""

import multiprocessing
import os
import random
import signal
import time

from diff2in1_mm.store.store import SyntheticStore

from ..stores import read_one
from .samples import PURPOSE, fill, make_record, make_sample


def test_leftovers_of_killed_writers(store):
    fill(store, [1])
    (store.root / f'images/.r000.png.{77:032x}.tmp').write_bytes(b'x')
    (store.root / 'images/r000_s0000009_k00.png').write_bytes(b'x')
    (store.root / f'records/.r000_s0000009_k00.json.{77:032x}.tmp').write_bytes(b'{')
    assert len(SyntheticStore(store.root)) == 1
    SyntheticStore.prepare(store.root, **PURPOSE)
    names = {p.name for p in store.root.rglob('*') if p.is_file()} - {'.lock', 'store.json'}
    assert names == {f'{SyntheticStore.sample_id(0, 1, 0)}.{end}' for end in ('png', 'json')}


def test_refresh_sees_other_writers(store):
    reader = SyntheticStore(store.root)
    fill(store, [4])
    assert len(reader) == 0
    reader.refresh()
    assert [r.id for r in reader.records()] == [SyntheticStore.sample_id(0, 4, 0)]


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
    context = multiprocessing.get_context('fork')
    writers = [context.Process(target=write_all, args=(tmp_path / 's', 30, m)) for m in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert assert_whole(tmp_path / 's') == 30
    assert len(list((tmp_path / 's').rglob('*.png'))) == 60


def test_killed_at_any_moment(tmp_path):
    context = multiprocessing.get_context('fork')
    random.seed(0)
    counts = [0]
    for attempt in range(20):
        writer = context.Process(target=write_all, args=(tmp_path / 's', 200, attempt))
        writer.start()
        deadline = time.monotonic() + 60
        while len(list((tmp_path / 's').glob('records/r*.json'))) == counts[-1] and time.monotonic() < deadline:
            time.sleep(0.001)  # it has begun where the last one was killed
        time.sleep(random.uniform(0, 0.01))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        counts.append(assert_whole(tmp_path / 's'))
    assert counts == sorted(set(counts)) and counts[-1] < 200
    write_all(tmp_path / 's', 200, 20)
    assert assert_whole(tmp_path / 's') == 200
    assert len([p for p in (tmp_path / 's').rglob('*') if p.is_file()]) == 3 * 200 + 2
