"""The store: whole samples only, whoever writes and whatever dies."""

import json
import logging
import multiprocessing
import os
import random
import signal
import time

import cv2
import numpy as np
import pytest

from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..stores import read_one

CLASSES = ('road', 'sky', 'tree')
PURPOSE = dict(tasks=['segmentation'], classes=CLASSES, fingerprint='abc', settings={'T': 400})


def make_record(source=0, round=0, copy=0, **changes):
    return SampleRecord(
        **{
            **dict(
                id=SyntheticStore.sample_id(round, source, copy),
                round=round,
                source=source,
                source_path=f'{source}.jpg',
                copy=copy,
                seed=2**62 + source,
                T=400,
                steps=20,
                solver='ddim',
                caption='a photo',
                checkpoint='c0',
                quality={'confidence': 0.9},
            ),
            **changes,
        }
    )


def make_sample(value, height=12, width=16):
    """Noise, so that samples differ in bytes; the value stands in the first pixels."""
    rng = np.random.RandomState(value)
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    annotation = rng.randint(0, 3, (height, width)).astype(np.uint8)
    image[0, 0], annotation[0, 0] = value % 256, value % 3
    return image, dict(segmentation=annotation)


@pytest.fixture
def store(tmp_path):
    return SyntheticStore.prepare(tmp_path / 'store', **PURPOSE)


def fill(store, sources, round=0):
    for source in sources:
        store.add(make_record(source, round), *make_sample(source))


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.fixture
def caplog_mm(caplog):
    """MMEngine's loggers do not propagate."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_round_trip(store):
    image, annotations = make_sample(5)
    record = make_record(5, quality={'confidence': 0.5, 'undefined': float('nan')})
    store.add(record, image, annotations)
    assert [r.id for r in store.records()] == [record.id]
    reopened = SyntheticStore(store.root, classes=list(CLASSES), tasks=['segmentation'])
    (read,) = reopened.records()
    assert (read.seed, read.caption, read.source_path) == (record.seed, 'a photo', '5.jpg')
    assert read.quality['confidence'] == 0.5 and np.isnan(read.quality['undefined'])
    for stored, given in zip(read_one(reopened, read), (image, annotations['segmentation'])):
        np.testing.assert_array_equal(stored, given)
    # RGB, not BGR, on the disk
    np.testing.assert_array_equal(cv2.imread(reopened.image_path(read))[..., ::-1], image)


def test_records_by_round_sorted(store):
    fill(store, [3, 1], round=1)
    fill(store, [2], round=0)
    assert [r.source for r in store.records()] == [2, 1, 3]
    assert [r.source for r in store.records(1)] == [1, 3]
    assert store.records(7) == []


def test_second_add_changes_nothing(store):
    fill(store, [1])
    before = {p: p.read_bytes() for p in store.root.rglob('*.*') if p.is_file()}
    store.add(make_record(1, caption='other'), *make_sample(99))
    assert before == {p: p.read_bytes() for p in store.root.rglob('*.*') if p.is_file()}
    assert store.records()[0].caption == 'a photo'


def test_prune_keeps_one_round(store):
    fill(store, [1, 2], round=0)
    fill(store, [1], round=1)
    assert store.prune(keep_round=1) == 2
    assert [r.id for r in store.records()] == [SyntheticStore.sample_id(1, 1, 0)]
    assert len(list(store.root.rglob('*.png'))) == 2


def test_notes_of_samples_without_a_label(store):
    fill(store, [1])
    for source, round, checkpoint in ((2, 0, 'c0'), (3, 0, 'c1'), (2, 1, 'c0')):
        store.add_empty(SyntheticStore.sample_id(round, source, 0), round, checkpoint)
    (store.root / 'empty/r000_s0000009_k00.json').write_bytes(b'{')  # damaged
    (store.root / f'empty/.r000_s0000008_k00.json.{77:032x}.tmp').write_bytes(b'{')
    reopened = SyntheticStore.prepare(store.root, **PURPOSE)
    assert reopened.empty(0, 'c0') == {SyntheticStore.sample_id(0, 2, 0)}
    assert reopened.empty(0, 'c1') == {SyntheticStore.sample_id(0, 3, 0)}
    assert [r.source for r in reopened.records()] == [1] and not reopened.damaged
    assert not any('.tmp' in path.name for path in (store.root / 'empty').iterdir())
    assert reopened.prune(keep_round=1) == 1
    assert [p.stem for p in (store.root / 'empty').iterdir()] == [SyntheticStore.sample_id(1, 2, 0)]


def test_notes_made_otherwise_do_not_count(store):
    store.add_empty(SyntheticStore.sample_id(0, 2, 0), 0, 'c0')
    other = SyntheticStore.prepare(store.root, **{**PURPOSE, 'fingerprint': 'xyz'})
    assert not other.empty(0, 'c0')


def test_continuing_and_refusing(store):
    fill(store, [1])
    assert len(SyntheticStore.prepare(store.root, **PURPOSE)) == 1
    changed = {**PURPOSE, 'fingerprint': 'xyz', 'settings': {'T': 600}}
    with pytest.raises(StoreMismatch, match='T: there 400, here 600.*another folder'):
        SyntheticStore.prepare(store.root, **changed)
    with pytest.raises(StoreMismatch, match='classes: there'):  # even if the caller's fingerprint does not know them
        SyntheticStore.prepare(store.root, **{**PURPOSE, 'classes': PURPOSE['classes'][::-1]})


def test_empty_store_is_taken_over(store):
    other = SyntheticStore.prepare(store.root, **{**PURPOSE, 'fingerprint': 'xyz'})
    assert other.fingerprint == SyntheticStore(store.root).fingerprint == 'xyz'


def test_tuple_in_settings_is_no_difference(tmp_path):
    purpose = {**PURPOSE, 'settings': {'size': (4, 5)}}
    fill(SyntheticStore.prepare(tmp_path / 's', **purpose), [0])
    assert len(SyntheticStore.prepare(tmp_path / 's', **purpose)) == 1


def test_folders_that_are_no_store(tmp_path):
    (tmp_path / 'images').mkdir()
    with pytest.raises(StoreMismatch, match='images'):
        SyntheticStore.prepare(tmp_path, **PURPOSE)
    assert not (tmp_path / '.lock').exists()
    with pytest.raises(FileNotFoundError, match='create_data'):
        SyntheticStore(tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(StoreMismatch, match='is a file'):
        SyntheticStore.prepare(tmp_path / 'file', **PURPOSE)


def test_made_for_something_else(store):
    with pytest.raises(StoreMismatch, match="'tree'.*'person'"):
        SyntheticStore(store.root, classes=('person',))
    with pytest.raises(StoreMismatch, match='classes'):  # label values would mean other things
        SyntheticStore(store.root, classes=PURPOSE['classes'][::-1])
    with pytest.raises(StoreMismatch, match='depth is wanted'):
        SyntheticStore(store.root, tasks=['depth'])
    with pytest.raises(ValueError, match="'poses'.*knows depth, .*, segmentation"):
        SyntheticStore.prepare(store.root, **{**PURPOSE, 'tasks': ['poses']})


def test_newer_format_and_damaged_purpose(store):
    path = store.root / 'store.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 9}))
    with pytest.raises(StoreMismatch, match='format 9'):
        SyntheticStore(store.root)
    path.write_text('{')
    with pytest.raises(StoreMismatch, match='damaged'):
        SyntheticStore(store.root)


def test_damaged_samples_are_named_once_and_made_again(store, caplog_mm):
    fill(store, range(5))
    ids = [r.id for r in store.records()]
    (store.root / f'images/{ids[0]}.png').unlink()
    (store.root / f'annotations/segmentation/{ids[1]}.png').write_bytes(b'short')
    (store.root / f'records/{ids[2]}.json').write_bytes(b'{"id": ')
    reader = SyntheticStore(store.root)
    reader.refresh()
    assert [r.id for r in reader.records()] == ids[3:] and sorted(reader.damaged) == ids[:3]
    (message,) = warnings_of(caplog_mm)
    assert '3 damaged' in message and all(id in message for id in ids[:3])
    fill(reader, range(5))
    assert len(SyntheticStore(store.root)) == 5 and not reader.damaged


def test_leftovers_of_killed_writers(store):
    fill(store, [1])
    (store.root / f'images/.r000.png.{77:032x}.tmp').write_bytes(b'x')
    (store.root / 'images/r000_s0000009_k00.png').write_bytes(b'x')
    (store.root / f'records/.r000_s0000009_k00.json.{77:032x}.tmp').write_bytes(b'{')
    assert len(SyntheticStore(store.root)) == 1
    SyntheticStore.prepare(store.root, **PURPOSE)
    names = {p.name for p in store.root.rglob('*') if p.is_file()} - {'.lock', 'store.json'}
    assert names == {f'{SyntheticStore.sample_id(0, 1, 0)}.{end}' for end in ('png', 'json')}


@pytest.mark.parametrize(
    'image, annotation, message',
    [
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8), 'uint8 of shape'),
        (np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), 'uint8 of shape'),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), 'one label per pixel'),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)), 'not integer'),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 300), 'outside 0..255'),
    ],
)
def test_bad_samples(store, image, annotation, message):
    with pytest.raises(ValueError, match=message):
        store.add(make_record(), image, dict(segmentation=annotation))
    assert len(SyntheticStore(store.root)) == 0


def test_ids_are_file_names():
    with pytest.raises(ValueError, match='file name'):
        make_record(id='../up')


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


def test_several_annotations_a_sample(tmp_path):
    """A sample has all labels of its store, each in its own folder, or it is not stored."""
    purpose = {**PURPOSE, 'tasks': ['segmentation', 'depth']}
    store = SyntheticStore.prepare(tmp_path / 's', **purpose)
    image, annotations = make_sample(5)
    with pytest.raises(ValueError, match='segmentation.*the store takes'):
        store.add(make_record(5), image, annotations)
    depth = np.full(image.shape[:2], 2.5, np.float32)
    store.add(make_record(5), image, dict(annotations, depth=depth))
    reopened = SyntheticStore(store.root, tasks=['segmentation', 'depth'])
    (record,) = reopened.records()
    _, found = reopened.read(record)
    assert list(found) == ['segmentation', 'depth']
    np.testing.assert_array_equal(found['segmentation'], annotations['segmentation'])
    np.testing.assert_array_equal(found['depth'], depth)
    info = {}
    reopened.point_at(info, record)
    assert info['seg_map_path'].endswith(f'annotations/segmentation/{record.id}.png')
    assert info['depth_map_path'].endswith(f'annotations/depth/{record.id}.png')
    with pytest.raises(StoreMismatch, match="tasks: there .'segmentation', 'depth'.*here .'segmentation'"):
        SyntheticStore.prepare(store.root, **PURPOSE)
    (store.root / f'annotations/depth/{record.id}.png').unlink()
    assert len(SyntheticStore(store.root)) == 0
    assert len(SyntheticStore.prepare(store.root, **purpose)) == 0


def first_version(root, source):
    """A store as version 1 wrote it, of one sample."""
    image, annotations = make_sample(source)
    record = make_record(source)
    for folder, picture in (('images', image[..., ::-1]), ('annotations', annotations['segmentation'])):
        (root / folder).mkdir(parents=True)
        cv2.imwrite(str(root / folder / f'{record.id}.png'), picture)
    names = {key: f'{key}s/{record.id}.png' for key in ('image', 'annotation')}
    content = json.loads(record.to_json())
    del content['annotations']
    content.update(names, bytes={name: (root / name).stat().st_size for name in names.values()})
    (root / 'records').mkdir()
    (root / 'records' / f'{record.id}.json').write_text(json.dumps(content))
    purpose = {key: value for key, value in PURPOSE.items() if key != 'tasks'}
    (root / 'store.json').write_text(json.dumps(dict(version=1, task='segmentation', **purpose)))


def test_store_of_version_1_is_read_and_continued(tmp_path):
    first_version(tmp_path, 3)
    old = SyntheticStore(tmp_path, CLASSES, ['segmentation'])
    assert not old.damaged
    np.testing.assert_array_equal(read_one(old, old.records()[0])[1], make_sample(3)[1]['segmentation'])
    with pytest.raises(StoreMismatch, match='made otherwise'):
        SyntheticStore.prepare(tmp_path, **{**PURPOSE, 'fingerprint': 'xyz'})
    store = SyntheticStore.prepare(tmp_path, **PURPOSE)
    fill(store, [3, 4])  # the first one is there
    reopened = SyntheticStore(tmp_path)
    assert [record.source for record in reopened.records()] == [3, 4] and not reopened.damaged
    folders = [path.parent for record in reopened.records() for path in reopened.annotation_paths(record).values()]
    assert folders == [tmp_path / 'annotations'] * 2  # as before: data sets that read the folder find all
    for record in reopened.records():
        np.testing.assert_array_equal(read_one(reopened, record)[1], make_sample(record.source)[1]['segmentation'])
    (tmp_path / 'annotations/left.png').write_bytes(b'x')
    assert SyntheticStore.prepare(tmp_path, **PURPOSE).prune(keep_round=1) == 2
    assert not list(tmp_path.glob('annotations/**/*.png'))


def test_readable_by_other_tools(store):
    """Plain MMSegmentation reads the folder without this package."""
    datasets = pytest.importorskip('mmseg.datasets')
    fill(store, range(3))
    (store.root / 'images/.half.png.1.tmp').write_bytes(b'x')  # a writer at work
    dataset = datasets.BaseSegDataset(
        data_root=str(store.root),
        img_suffix='.png',
        metainfo=dict(classes=CLASSES),
        data_prefix=dict(img_path='images', seg_map_path='annotations/segmentation'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
    )
    assert len(dataset) == 3
    for source, loaded in enumerate(dataset):
        image, annotations = make_sample(source)
        np.testing.assert_array_equal(loaded['img'][..., ::-1], image)
        np.testing.assert_array_equal(loaded['gt_seg_map'], annotations['segmentation'])


def test_listing_is_fast(store):
    """20,000 records: one thorough opening, then cheap refreshes."""
    total = 20000
    for source in range(total):
        record = make_record(
            source,
            image='images/x.png',
            annotations=dict(segmentation='annotations/segmentation/x.png'),
            bytes={'images/x.png': 1, 'annotations/segmentation/x.png': 1},
        )
        (store.root / f'records/{record.id}.json').write_bytes(record.to_json())
    for folder in ('images', 'annotations/segmentation'):
        (store.root / folder / 'x.png').write_bytes(b'x')
    start = time.perf_counter()
    reader = SyntheticStore(store.root)
    opened = time.perf_counter() - start
    reader.refresh()
    refreshed = time.perf_counter() - start - opened
    assert len(reader) == total
    # Generous, for a busy machine; seconds are about 1.5 and 0.2 on an idle one.
    assert opened < 30 and refreshed < 5, (opened, refreshed)
