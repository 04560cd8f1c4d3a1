"""What is known beside the store: the real images, and another checkpoint's labels."""

import pytest

from diff2in1_mm.browse.session import Session
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError

from ..test_store.samples import PURPOSE
from .conftest import fill_store


def test_real_images_are_counted_beside_samples(store):
    session = Session(store)
    session.catalogue.read()
    session.count_real([('sky', 'tree'), ('sky', 'sky')])
    summary = session.summary()
    assert summary['real'] == dict(sky=2, tree=1) and summary['real_images'] == 2
    assert summary['counts'] == dict(road=6, sky=5, tree=6)
    assert summary['classes'] == ['road', 'sky', 'tree'] and len(summary['colours']) == 3


def test_another_checkpoints_labels_stand_beside(store, tmp_path):
    (tmp_path / 'b').mkdir()
    session = Session(store, fill_store(tmp_path / 'b', shift=2))
    session.catalogue.read()
    assert 'beside segmentation' in session.summary()['kinds']
    rows = session.samples(dict(sort='agreement', count='9'))['rows']
    found = [row['quality']['agreement'] for row in rows]
    assert found == sorted(found) and 0 < found[0] < found[-1] < 1
    other = SyntheticStore.prepare(tmp_path / 'c', **{**PURPOSE, 'classes': ('cat',)})
    with pytest.raises(ValueError, match='other classes'):
        Session(store, other)


def test_stores_with_nothing_to_show_are_refused(store, tmp_path):
    empty = SyntheticStore.prepare(tmp_path / 'empty', **PURPOSE)
    with pytest.raises(UserError, match='empty holds no samples to show: create some'):
        Session(empty)
    with pytest.raises(UserError, match=f'empty has none of the samples of {store.root}: give one'):
        Session(store, empty)
