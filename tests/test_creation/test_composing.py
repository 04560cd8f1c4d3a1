"""Things of other source images in what is noised, with their labels."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope

from diff2in1_mm.creation.composing import composer_of, seams_of
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..stores import read_one
from ..tiny_segmentation import CLASSES, PALETTE, dataset_config

# nothing of the pictures changes, and labels are the sources'
AS_IT_IS = dict(steps=1, T={'default': 1, **dict.fromkeys(CLASSES, 0)}, label_from='source', batch_size=2)
THINGS = dict(classes=['tree'], count=(1, 2), min_area=4)


@pytest.fixture
def world(tmp_path):
    """Four images of plain sky and road; in the last stands a tree. Label values in the files are one higher."""
    init_default_scope('mmseg')
    for folder in ('img', 'ann'):
        (tmp_path / folder).mkdir()
    for i in range(4):
        labels = np.zeros((32, 48), np.uint8)
        labels[20:] = 2
        if i == 3:
            labels[8:22, 20:28] = 1
        cv2.imwrite(str(tmp_path / f'img/{i}.png'), np.array(PALETTE, np.uint8)[labels][..., ::-1])
        cv2.imwrite(str(tmp_path / f'ann/{i}.png'), labels + 1)
    load = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations', reduce_zero_label=True)]
    changes = dict(reduce_zero_label=True, pipeline=[*load, dict(type='mmseg.PackSegInputs')])
    return DATASETS.build(dict(dataset_config(tmp_path), **changes))


def test_labels_say_what_is_pasted(tmp_path, model, world):
    create(model, world, tmp_path / 's', compose=THINGS, copies_per_source=4, **AS_IT_IS)
    store = SyntheticStore(tmp_path / 's')
    assert len(store) == 16 and store.settings['compose']['classes'] == ['tree']
    pasted = 0
    for record in store.records():
        image, raw = read_one(store, record)
        colours = np.array(PALETTE)[raw.astype(int) - 1]  # as the file has them
        wrong = np.abs(image.astype(int) - colours).max(-1) > 40  # a border of a resized thing
        assert wrong.mean() < 0.03
        pasted += record.source != 3 and (raw == 2).any()
    assert pasted > 4


def test_a_sample_is_composed_the_same_alone_and_again(tmp_path, model, world):
    create(model, world, tmp_path / 'a', compose=THINGS, **AS_IT_IS)
    create(model, world, tmp_path / 'b', compose=THINGS, **dict(AS_IT_IS, batch_size=1))
    a, b = SyntheticStore(tmp_path / 'a'), SyntheticStore(tmp_path / 'b')
    for one, other in zip(a.records(), b.records()):
        for left, right in zip(read_one(a, one), read_one(b, other)):
            assert np.array_equal(left, right)
    with pytest.raises(StoreMismatch, match='compose'):
        create(model, world, tmp_path / 'a', compose=dict(THINGS, count=(0, 1)), **AS_IT_IS)


def test_a_donor_that_cannot_be_read_is_done_without(tmp_path, model, world):
    (tmp_path / 'img/3.png').write_bytes(b'none')
    report = create(model, world, tmp_path / 's', compose=THINGS, **AS_IT_IS)
    assert report.samples == 3 and [path[-5:] for path in report.skipped] == ['3.png']


def test_the_seams_alone_change(tmp_path, model, world):
    levels = dict(AS_IT_IS, T=dict(default=0, seams=400))
    create(model, world, tmp_path / 's', compose=dict(THINGS, seam=1), copies_per_source=2, **levels)
    create(model, world, tmp_path / 'plain', compose=THINGS, copies_per_source=2, **AS_IT_IS)
    store, plain = SyntheticStore(tmp_path / 's'), SyntheticStore(tmp_path / 'plain')
    assert store.settings['T'] == dict(default=0, seams=400) and store.settings['compose']['seam'] == 1
    changed = 0
    for one, other in zip(store.records(), plain.records()):
        (image, labels), (before, same) = read_one(store, one), read_one(plain, other)
        assert one.T == 400 and np.array_equal(labels, same)
        differs = (image != before).any(-1)
        near_trees = cv2.dilate((labels == 2).astype(np.uint8), np.ones((3, 3))) > 0
        assert not differs[~near_trees].any()
        changed += differs.sum()
    assert changed > 20


def test_seams_lie_on_both_sides_of_an_outline():
    numbers = np.zeros((9, 12), np.uint8)
    numbers[:, 4:8], numbers[:, 8:] = 1, 2
    assert np.flatnonzero(seams_of(numbers, 1)[4]).tolist() == [3, 4, 7, 8]
    assert np.flatnonzero(seams_of(numbers, 2)[4]).tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert not seams_of(np.zeros((9, 12), np.uint8), 2).any()


def test_seams_of_nothing(model, world):
    with pytest.raises(ValueError, match="a level of 'seams'.*is not set: set it, or leave the level out"):
        check_creation(model, dict(AS_IT_IS, T=dict(default=1, seams=3)), world)


def test_labels_that_are_neither_maps_nor_objects(world):
    with pytest.raises(ValueError, match='boxes or masks, but depth labels are stored: leave it out'):
        composer_of(CreationSettings(compose=THINGS), ('depth',), world)


@pytest.mark.parametrize(
    ('compose', 'words'),
    [
        (dict(classes=['trees']), "'trees' of the things to paste is no class.*did you mean 'tree'"),
        (dict(classes=['tree'], size=3), 'unexpected keyword argument'),
        (dict(classes=['tree'], count=(2, 1)), 'the least and the most things'),
        (dict(classes=['tree'], hidden=2), 'must be a share of an object'),
        (dict(classes=['tree'], seam=0), 'compose.seam = 0 must be a whole number'),
    ],
)
def test_bad_settings(model, world, compose, words):
    with pytest.raises(ValueError, match=words):
        check_creation(model, dict(AS_IT_IS, compose=compose), world)
