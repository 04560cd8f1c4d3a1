"""File values written by ``to_raw_labels`` come out of LoadAnnotations as the labels given."""

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from diff2in1_mm.tasks.label_values import loaded_labels, to_raw_labels


@st.composite
def label_maps(draw):
    """As MMSegmentation makes them: some old classes get a new index each, the others 255."""
    old = draw(st.integers(1, 150))
    kept = draw(st.lists(st.integers(0, old - 1), unique=True, min_size=1))
    return {i: kept.index(i) if i in kept else 255 for i in range(old)}, len(kept)


@given(st.booleans(), st.none() | label_maps(), st.data())
def test_round_trip(reduce_zero_label, mapping, data):
    label_map, num_classes = mapping or (None, 150)
    values = st.integers(0, num_classes - 1) | st.just(255)
    labels = np.array(data.draw(st.lists(values, max_size=40)), dtype=np.int64)
    raw = to_raw_labels(labels, reduce_zero_label, label_map)
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(loaded_labels(reduce_zero_label, label_map)[raw], labels)


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 2, 2: 0, 3: 255, 4: 1}])
def test_table_equals_load_annotations(tmp_path, reduce_zero_label, label_map):
    loading = pytest.importorskip('mmseg.datasets.transforms')
    path = str(tmp_path / 'all.png')
    cv2.imwrite(path, np.arange(256, dtype=np.uint8).reshape(16, 16))
    loaded = loading.LoadAnnotations()(
        dict(seg_map_path=path, reduce_zero_label=reduce_zero_label, label_map=label_map, seg_fields=[])
    )['gt_seg_map']
    np.testing.assert_array_equal(loaded.ravel(), loaded_labels(reduce_zero_label, label_map))


def test_ignored_is_written_as_255():
    ignored = np.full((2, 2), 255)
    assert (to_raw_labels(ignored, True, {0: 255, 1: 0}) == 255).all()


def test_labels_that_cannot_be_stored():
    with pytest.raises(ValueError, match=r'label \[254\]'):
        to_raw_labels(np.array([254, 3]), reduce_zero_label=True)
    with pytest.raises(ValueError, match='0 to 255'):
        to_raw_labels(np.array([-1]))
    with pytest.raises(ValueError, match='argmax'):
        to_raw_labels(np.zeros(2))
