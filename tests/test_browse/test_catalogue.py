"""Which samples are shown in which order, and what is said of them."""

import numpy as np
import pytest

from diff2in1_mm.browse.catalogue import Catalogue, Query
from diff2in1_mm.store.corrections import correct
from diff2in1_mm.store.reviews import Reviews


def numbers(catalogue, **query):
    return [int(place) for place in catalogue.select(Query.of(query))]


def test_samples_are_chosen_and_sorted(session):
    catalogue = session.catalogue
    assert numbers(catalogue) == [0, 1, 2, 3, 4, 5] and numbers(catalogue, descending='1') == [5, 4, 3, 2, 1, 0]
    assert numbers(catalogue, sort='confidence') == [5, 4, 3, 2, 1, 0]
    assert numbers(catalogue, sort='ignored', descending='1') == [5, 4, 3, 2, 1, 0]
    assert numbers(catalogue, shows='sky') == [0, 1, 3, 4, 5]  # records of this store say no classes: labels were read
    assert numbers(catalogue, figure='confidence', least='0.55', most='0.75') == [2, 3]
    assert numbers(catalogue, round='1') == [] and len(numbers(catalogue, round='0')) == 6
    for query, said in ((dict(sort='beauty'), 'diversity'), (dict(shows='dog'), 'dog'), (dict(least='much'), 'much')):
        with pytest.raises(ValueError, match=said):
            numbers(catalogue, **query)


def test_a_figure_that_some_lack_sorts_them_last(store):
    catalogue = Catalogue(store, dict(odd=lambda record: float(record.source) if record.source % 2 else None))
    catalogue.read()
    assert numbers(catalogue, sort='odd')[:3] == [1, 3, 5] and numbers(catalogue, sort='odd', descending='1')[0] == 5


def test_what_was_said_is_chosen_by_and_counted(session, ids):
    catalogue = session.catalogue
    catalogue.review('reject', ids[1], '')
    catalogue.review('keep', ids[3], '')
    catalogue.review('reject_class', ids[4], 'sky')
    Reviews(catalogue.store.root).add('reject', ids[5], by='another window')
    correct(catalogue.store, catalogue.records[0], 'segmentation', np.full((12, 16), 2, np.uint8), by='elsewhere')
    by_verdict = {v: numbers(catalogue, verdict=v) for v in ('keep', 'reject', 'class', 'human', 'open')}
    assert by_verdict == {'keep': [3], 'reject': [1, 5], 'class': [4], 'human': [0], 'open': [2]}
    summary = catalogue.summary()
    assert summary['verdicts'] == dict(keep=1, reject=2, wrong=1)
    assert summary['counts']['sky'] == 2  # of 5 that showed it, 2 are rejected and 1 corrected
    row = catalogue.row(catalogue.records[0])
    assert row['human'] == ['segmentation'] and row['classes'] == ['tree'] and 'confidence' not in row['quality']
    assert catalogue.row(catalogue.records[4])['rejected'] == ['sky']
    assert catalogue.review('undo', '', '').sample == ids[4] and numbers(catalogue, verdict='class') == []


def test_corrected_labels_are_chosen_by_what_they_show_now(session, ids):
    catalogue = session.catalogue
    before = numbers(catalogue, shows='tree')
    correct(catalogue.store, catalogue.records[5], 'segmentation', np.full((12, 16), 2, np.uint8), by='ada')
    fresh = Catalogue(catalogue.store)
    fresh.read()
    for either in (catalogue, fresh):  # that had read the store, or reads it now
        assert 5 in numbers(either, shows='tree') and 5 not in numbers(either, shows='sky')
        assert numbers(either, sort='confidence')[-1] == 5  # the model's figure is not of this label
        assert either.summary()['counts']['sky'] == 4
    catalogue.reviews.undo('ada')
    assert numbers(catalogue, shows='tree') == before and numbers(catalogue, sort='confidence')[0] == 5


@pytest.mark.parametrize('act, id, name', [('reject', 'x', ''), ('reject_class', None, 'dog'), ('label', None, '')])
def test_acts_about_nothing_are_refused(session, ids, act, id, name):
    with pytest.raises(ValueError, match='no sample|no class|import'):
        session.catalogue.review(act, ids[0] if id is None else id, name)
    assert not session.catalogue.reviews.path.exists()


def test_the_first_page_waits_for_nothing(store):
    catalogue = Catalogue(store)
    page = catalogue.page(Query(), 2, 3)
    assert page['ready'] and page['total'] == 6 and [row['T'] for row in page['rows']] == [400] * 3
    assert catalogue.page(Query(sort='confidence'), 0, 3) == dict(ready=False, read=0, total=0, rows=[])
    catalogue.start()
    while not catalogue.ready:
        pass
    assert catalogue.page(Query(sort='confidence'), 0, 3)['total'] == 6
