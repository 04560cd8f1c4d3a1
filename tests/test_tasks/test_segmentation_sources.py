"""Label maps of source images as labels of what was made from them."""

import cv2
import numpy as np
import pytest

from diff2in1_mm.tasks.segmentation import SegmentationLabeller, source_map

from .test_segmentation import segmentor


def test_source_labels_count_what_the_data_set_ignores(tmp_path):
    raw = np.array([[0, 1], [2, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), raw)
    label = source_map(dict(seg_map_path=str(tmp_path / 'a.png'), reduce_zero_label=True), (4, 4))
    assert label.quality['ignored'] == 0.5
    np.testing.assert_array_equal(label.annotation, raw.repeat(2, 0).repeat(2, 1))
    cv2.imwrite(str(tmp_path / 'colour.png'), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match='one channel with 8 bits'):
        source_map(dict(seg_map_path=str(tmp_path / 'colour.png')), (2, 2))
    with pytest.raises(ValueError, match='the entry of b.png has no label map.*set label_from="fresh"'):
        source_map(dict(img_path='b.png'), (2, 2))


def test_an_image_without_a_label_map_has_no_label(tmp_path):
    """Of a data set of several kinds of labels, which has None in place of a path."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.ones((2, 2), np.uint8))
    labeller = SegmentationLabeller(segmentor())
    there, made = dict(seg_map_path=str(tmp_path / 'a.png')), np.zeros((2, 2), np.uint8)
    absent = dict(img_path='b.png', seg_map_path=None)
    found, nothing, composed = labeller.source_labels((4, 4), [there, absent, dict(absent, label_map_of_picture=made)])
    assert nothing is None and found.annotation.all() and not composed.annotation.any()
    with pytest.raises(ValueError, match='the entry of b.png has no label map.*set label_from="fresh"'):
        labeller.source_labels((4, 4), [dict(img_path='b.png')])  # which loads none at all
