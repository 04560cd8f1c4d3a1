"""The index of a store: never in the way of the records, which are the truth."""

import os
import pickle
import random
import shutil
import signal
import sqlite3
import time
import tracemalloc

import pytest

from diff2in1_mm.store import index as index_module, listing
from diff2in1_mm.store.index import SampleIndex
from diff2in1_mm.store.store import SyntheticStore

from ..stores import read_one
from .samples import PURPOSE, fill, make_record, make_sample
from .test_store_writers import CONTEXT

TASKS = PURPOSE['tasks']
NAME = 'images/x.png'


def lay_down(root, sources, writer='a', round=0):
    """Records of samples that share one file, as a writer of its own appends them."""
    (root / 'images').mkdir(exist_ok=True)
    (root / NAME).write_bytes(b'x')
    shared = dict(image=NAME, annotations=dict(segmentation=NAME), bytes={NAME: 1})
    with open(root / f'records/r{round:03d}-{writer}.jsonl', 'ab') as file:
        file.writelines(make_record(source, round, **shared).to_json(None) for source in sources)


@pytest.fixture
def large(store, monkeypatch):
    """A store that keeps its index on the disk, and looks at the files of a sample once."""
    monkeypatch.setattr(index_module, 'KEPT_FROM', 100)
    monkeypatch.setattr(index_module, 'LOOKED_AT', 50)
    lay_down(store.root, range(300))
    return store


def sources(root):
    return [record.source for record in SyntheticStore(root).records()]


def test_a_second_opening_reads_no_record(large, monkeypatch):
    assert len(SyntheticStore(large.root)) == 300
    made = (large.root / 'index.sqlite').stat().st_mtime_ns
    monkeypatch.setattr(index_module, 'lines', None)
    monkeypatch.setattr(index_module, 'damage', None)
    opened = SyntheticStore(large.root)
    records = opened.records(0)
    assert len(records) == 300 and records.sources.tolist() == list(range(300))
    assert records == list(records) and records != records[1:]
    assert (records[7].source, records[-1].source, [r.source for r in records[3:5]]) == (7, 299, [3, 4])
    assert opened.find(make_record(8).id) == records[8] and opened.find('other') is None
    assert opened.rounds() == {0} and opened.size(0) == 300 and opened.checkpoints(0) == {'c0': make_record(0).id}
    assert (large.root / 'index.sqlite').stat().st_mtime_ns == made


def test_what_is_appended_is_taken_in(large):
    reader = SyntheticStore(large.root)
    before = reader.records()
    lay_down(large.root, range(300, 310))
    lay_down(large.root, range(310, 320), 'b')
    with open(large.root / 'records/r000-b.jsonl', 'ab') as file:
        file.write(make_record(320).to_json(None)[:-9])  # its writer is at it
    reader.refresh()
    assert len(reader) == 320 and len(before) == 300 and before[299].source == 299
    made = (large.root / 'index.sqlite').stat().st_mtime_ns
    reader.refresh()  # half a line is no reason to write the index again
    assert (large.root / 'index.sqlite').stat().st_mtime_ns == made
    (large.root / 'records/r000-b.jsonl').unlink()
    assert sources(large.root) == list(range(310))


@pytest.mark.parametrize('damage', ['gone', 'empty', 'cut', 'noise', 'of another version', 'of other records'])
def test_a_missing_or_damaged_index_is_made_again(large, damage):
    path = large.root / 'index.sqlite'
    SyntheticStore(large.root)
    whole = path.read_bytes()
    if damage == 'gone':
        path.unlink()
    elif damage == 'of another version':
        with sqlite3.connect(path) as index:
            index.execute('PRAGMA user_version = 77')
    elif damage == 'of other records':
        shutil.rmtree(large.root / 'records')
        (large.root / 'records').mkdir()
        lay_down(large.root, range(50, 350))
    else:
        path.write_bytes(dict(empty=b'', cut=whole[: len(whole) // 2], noise=random.Random(0).randbytes(9000))[damage])
    assert sources(large.root) == list(range(50, 350) if damage == 'of other records' else range(300))


def test_an_index_that_goes_while_it_is_used(large):
    store = SyntheticStore(large.root)
    (large.root / 'index.sqlite').unlink()
    assert len(store) == len(store.records()) == 300


def test_a_disk_that_cannot_be_written(large, monkeypatch):
    SyntheticStore(large.root)
    lay_down(large.root, range(300, 303))

    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(shutil, 'copyfile', refuse)
    assert sources(large.root) == list(range(303))
    monkeypatch.setattr(index_module, '_put', refuse)
    (large.root / 'index.sqlite').unlink()
    assert sources(large.root) == list(range(303))
    assert not (large.root / 'index.sqlite').exists()


def test_damage_of_large_stores_is_found_when_their_creation_goes_on(large):
    fill(large, [900])
    assert len(SyntheticStore(large.root)) == 301
    path = large.root / large.find(make_record(900).id).image
    path.write_bytes(b'short')
    assert not SyntheticStore(large.root).damaged
    assert list(SyntheticStore.prepare(large.root, **PURPOSE).damaged) == [make_record(900).id]
    assert len(SyntheticStore(large.root)) == 300
    fill(large, [900])
    assert len(SyntheticStore(large.root)) == 301 and not large.damaged


def test_in_other_processes(large):
    """As data loader workers are given it, by fork or by pickling."""
    store = SyntheticStore(large.root)
    records = store.records()
    again = pickle.loads(pickle.dumps(store))
    assert len(again) == 300 and pickle.loads(pickle.dumps(records))[5] == records[5]
    queue = CONTEXT.Queue()
    child = CONTEXT.Process(target=lambda: queue.put((len(store), records[5].source, len(store.records(0)))))
    child.start()
    assert queue.get(timeout=60) == (300, 5, 300)
    child.join(60)


def test_no_object_per_sample(large):
    lay_down(large.root, range(300, 3300))
    SyntheticStore(large.root)
    index = SampleIndex(large.root, TASKS)
    tracemalloc.start()
    index.refresh()
    records = index.records()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 3300 and size < 3300 * 30


def add_and_look(root, attempt):
    """Body of a process that is killed: adds samples, and brings the index up to date after each."""
    store = SyntheticStore(root)
    for source in range(attempt * 1000, attempt * 1000 + 50):
        store.add(make_record(source), *make_sample(source))
        store.refresh()


def test_twenty_kills_of_who_writes_index_and_records(large):
    dice, known = random.Random(0), 300
    for attempt in range(1, 21):
        writer = CONTEXT.Process(target=add_and_look, args=(large.root, attempt))
        writer.start()
        deadline = time.monotonic() + 60
        while not list(large.root.glob(f'images/r000_s{attempt:04d}*/*')) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        store = SyntheticStore(large.root)
        assert not store.damaged and len(store) >= known
        known = len(store)
        rebuilt = SampleIndex(large.root, TASKS)
        rebuilt._memory = index_module._created(':memory:')
        rebuilt.refresh()
        assert [r.id for r in rebuilt.records()] == [r.id for r in store.records()]
    for record in store.records()[300:]:
        image, _ = read_one(store, record)
        assert (image == make_sample(record.source)[0]).all()
    assert known > 300


def test_a_record_that_is_asked_for_again_is_not_read_again(store, monkeypatch):
    lay_down(store.root, range(3))
    store.refresh()
    records, read, real = store.records(0), [], listing.read_line
    monkeypatch.setattr(listing, 'read_line', lambda *args: read.append(args) or real(*args))
    assert records[1] is records[1] and len(read) == 1
    assert [record.source for record in records] == [0, 1, 2] and records[1].source == 1
