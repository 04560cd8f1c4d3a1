"""Labels by people take the place of the creation's, and can be taken back."""

import numpy as np
import pytest

from diff2in1_mm.store.corrections import correct
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.reviews import Reviews
from diff2in1_mm.store.store import SyntheticStore

from ..stores import read_one
from .samples import fill, make_sample


def test_a_corrected_label_is_the_samples_until_that_is_undone(store):
    fill(store, [0, 1])
    first, second = store.records()
    mine = np.full((12, 16), 2, np.uint8)
    for value in (1, 2):  # a second correction replaces the first
        correct(store, first, 'segmentation', np.full_like(mine, value), by='ada')
    opened = SyntheticStore(store.root)
    record, other = opened.accepted()
    assert not opened.damaged and record.by_hand == ('segmentation',) and record.label_from == {'segmentation': 'human'}
    assert record.quality == {} and other == second
    np.testing.assert_array_equal(read_one(opened, record)[1], mine)
    assert opened.records() == [first, second]  # what the creation wrote

    reviews = Reviews(store.root)
    reviews.undo('ada')
    np.testing.assert_array_equal(read_one(opened, opened.accepted()[0])[1], mine - 1)
    reviews.undo('ada')
    np.testing.assert_array_equal(read_one(opened, opened.accepted()[0])[1], make_sample(0)[1]['segmentation'])


def test_labels_that_do_not_fit_are_refused_and_change_nothing(store):
    fill(store, [0])
    (record,) = store.records()
    for task, label, said in (
        ('segmentation', np.zeros((3, 3), np.uint8), 'shape'),
        ('depth', np.zeros((12, 16)), 'not for depth'),
    ):
        with pytest.raises(ValueError, match=said):
            correct(store, record, task, label)
    assert store.accepted() == [record]


def test_records_of_before_these_fields_are_read(store):
    fill(store, [0])
    (record,) = store.records()
    text = record.to_json().replace(b' "label_from": {},\n', b'').replace(b' "classes": {},\n', b'')
    old = text.replace(b',\n "reading": {}', b'')
    for name in (b'label_from', b'classes', b'reading'):
        assert name not in old
    assert SampleRecord.from_json(old, store.tasks) == record
    with pytest.raises(ValueError, match='classes'):
        SampleRecord.from_json(text.replace(b'"reading"', b'"classes": {"sky": "x"}, "reading"'), store.tasks)
    record.reading = dict(reduce_zero_label=True, label_map={'3': 255})
    read = SampleRecord.from_json(record.to_json(), store.tasks)
    assert read.entry == dict(reduce_zero_label=True, label_map={3: 255})
