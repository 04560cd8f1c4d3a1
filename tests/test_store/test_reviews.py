"""What people said of samples: kept, undone, and read as of a moment."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from diff2in1_mm.store.reviews import Reviews
from diff2in1_mm.store.store import SyntheticStore

from .samples import PURPOSE, fill


def test_the_last_act_about_a_sample_counts_and_undo_takes_back_ones_own(tmp_path):
    reviews = Reviews(tmp_path)
    assert reviews.verdicts() == (frozenset(), frozenset(), {}, {}) and reviews.undo('ada') is None
    reviews.add('reject', 'a', by='ada')
    reviews.add('reject_class', 'b', 'sky', by='ada')
    reviews.add('reject_class', 'b', 'road', by='eve')
    before = reviews.size()
    reviews.add('keep', 'a', by='eve')
    assert reviews.verdicts() == ({'a'}, set(), {'b': {'sky', 'road'}}, {})
    assert reviews.undo('ada').name == 'sky' and reviews.verdicts().classes == {'b': {'road'}}
    assert reviews.undo('eve').act == 'keep' and reviews.verdicts().rejected == {'a'}
    assert reviews.undo('ada').act == 'reject' and reviews.undo('ada') is None
    assert reviews.verdicts() == (set(), set(), {'b': {'road'}}, {})
    reviews.add('keep', 'b', by='eve')  # as it is: no class of it is wrong
    assert reviews.verdicts() == ({'b'}, set(), {}, {})
    assert reviews.verdicts(before) == (set(), {'a'}, {'b': {'sky', 'road'}}, {})  # as it was then


def test_every_act_says_who_and_when(tmp_path, monkeypatch):
    monkeypatch.setenv('LOGNAME', 'grace')
    Reviews(tmp_path).add('reject', 'a')
    (line,) = (tmp_path / 'reviews.jsonl').read_text().splitlines()
    told = json.loads(line)
    assert (told['act'], told['sample'], told['by']) == ('reject', 'a', 'grace')
    assert told['at'].endswith('+00:00') and len(told['key']) == 32
    with pytest.raises(ValueError, match="'keep', 'reject'"):
        Reviews(tmp_path).add('like', 'a')


def test_a_killed_writer_and_a_later_version_harm_nothing(tmp_path):
    reviews = Reviews(tmp_path)
    reviews.add('reject', 'a', by='x')
    with open(reviews.path, 'ab') as file:
        file.write(b'[1]\n{"act": "praise", "sample": "a", "by": "x", "at": "", "key": "1"}\n{"act": "rej')
    reviews.add('reject', 'b', by='x')
    assert reviews.verdicts().rejected == {'a', 'b'}


def test_a_corrected_label_outside_the_store_is_none(tmp_path):
    reviews = Reviews(tmp_path)
    reviews.add('label', 'a', 'segmentation', file='../mine.png')
    reviews.add('label', 'b', 'segmentation', file='human/segmentation/b-0.png')
    assert reviews.verdicts().labels == dict(b=dict(segmentation='human/segmentation/b-0.png'))


def test_many_write_at_once(tmp_path):
    def review(number):
        Reviews(tmp_path).add('reject', f's{number}', by=f'p{number % 3}')

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(review, range(60)))
    assert Reviews(tmp_path).verdicts().rejected == {f's{number}' for number in range(60)}


def test_rejected_samples_are_none_of_the_accepted_and_of_merged_files(store):
    fill(store, [0, 1])
    first, second = (record.id for record in store.records())
    Reviews(store.root).add('reject', first)
    assert [record.id for record in store.accepted()] == [second] and len(store) == 2
    store.prune(keep_round=1)
    SyntheticStore.prepare(store.root, **{**PURPOSE, 'fingerprint': 'other'})  # begins anew, with the same ids
    assert not Reviews(store.root).verdicts().rejected
