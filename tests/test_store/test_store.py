"""The store: samples in, samples out."""

import logging

import cv2
import numpy as np
import pytest

from diff2in1_mm.store import layout
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..stores import read_one
from .samples import CLASSES, PURPOSE, fill, make_record, make_sample


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
    assert len(reopened) == 1
    assert repr(reopened) == f"SyntheticStore('{store.root}', tasks=('segmentation',), samples=1, damaged=0)"
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
    assert not store.records(7)


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


def test_notes_of_samples_without_a_label(store, monkeypatch):
    fill(store, [1])
    for source, round, checkpoint in ((2, 0, 'c0'), (3, 0, 'c1'), (2, 1, 'c0')):
        store.add_empty(SyntheticStore.sample_id(round, source, 0), round, checkpoint)
    folder = store.root / 'empty/r000_s00000'
    (folder / 'r000_s0000009_k00.json').write_bytes(b'{')  # damaged
    (folder / f'.r000_s0000008_k00.json.{77:032x}.tmp').write_bytes(b'{')
    monkeypatch.setattr(layout, 'DEAD_AFTER', 0)
    reopened = SyntheticStore.prepare(store.root, **PURPOSE)
    assert reopened.empty(0, 'c0') == {SyntheticStore.sample_id(0, 2, 0)}
    assert reopened.empty(0, 'c1') == {SyntheticStore.sample_id(0, 3, 0)}
    assert [r.source for r in reopened.records()] == [1] and not reopened.damaged
    assert not any('.tmp' in path.name for path in folder.iterdir())
    assert reopened.prune(keep_round=1) == 1
    assert [p.stem for p in (store.root / 'empty').rglob('*.json')] == [SyntheticStore.sample_id(1, 2, 0)]


def test_notes_made_otherwise_do_not_count(store):
    store.add_empty(SyntheticStore.sample_id(0, 2, 0), 0, 'c0')
    other = SyntheticStore.prepare(store.root, **{**PURPOSE, 'fingerprint': 'xyz'})
    assert not other.empty(0, 'c0')


def test_damaged_samples_are_named_once_and_made_again(store, caplog_mm):
    fill(store, range(5))
    ids = [r.id for r in store.records()]
    (store.root / store.records()[0].image).unlink()
    store.annotation_paths(store.records()[1])['segmentation'].write_bytes(b'short')
    (records,) = (store.root / 'records').iterdir()
    records.write_bytes(records.read_bytes().replace(b'"source": 2', b'"sauce": 2'))
    reader = SyntheticStore(store.root)
    reader.refresh()
    assert [r.id for r in reader.records()] == ids[3:] and sorted(reader.damaged) == ids[:3]
    (message,) = warnings_of(caplog_mm)
    assert '3 damaged' in message and all(id in message for id in ids[:3])
    fill(reader, range(5))
    assert len(SyntheticStore(store.root)) == 5 and not reader.damaged


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
    assert info['seg_map_path'].endswith(f'annotations/segmentation/r000_s00000/{record.id}.png')
    assert info['depth_map_path'].endswith(f'annotations/depth/r000_s00000/{record.id}.png')
    with pytest.raises(StoreMismatch, match="tasks: there .'segmentation', 'depth'.*here .'segmentation'"):
        SyntheticStore.prepare(store.root, **PURPOSE)
    reopened.annotation_paths(record)['depth'].unlink()
    assert len(SyntheticStore(store.root)) == 0
    assert len(SyntheticStore.prepare(store.root, **purpose)) == 0


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
