"""What a store was made for, and folders that are of something else."""

import json

import cv2
import numpy as np
import pytest

from diff2in1_mm.store import layout
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..stores import read_one
from .samples import CLASSES, PURPOSE, fill, make_record, make_sample


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
    with pytest.raises(ValueError, match="'poses'.*knows .*depth, .*segmentation"):
        SyntheticStore.prepare(store.root, **{**PURPOSE, 'tasks': ['poses']})


def test_newer_format_and_damaged_purpose(store):
    path = store.root / 'store.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 9}))
    with pytest.raises(StoreMismatch, match='format 9'):
        SyntheticStore(store.root)
    path.write_text('{')
    with pytest.raises(StoreMismatch, match='damaged'):
        SyntheticStore(store.root)


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


def test_store_of_version_1_is_read_and_continued(tmp_path, monkeypatch):
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
    monkeypatch.setattr(layout, 'DEAD_AFTER', 0)
    (tmp_path / 'annotations/left.png').write_bytes(b'x')
    assert SyntheticStore.prepare(tmp_path, **PURPOSE).prune(keep_round=1) == 2
    assert not list(tmp_path.glob('annotations/**/*.png'))
