"""Objects pasted with their boxes and masks."""

import numpy as np
import pytest

from diff2in1_mm.datasets.object_pasting import cut_objects, with_objects
from diff2in1_mm.datasets.pasting import CutOut, paste_all
from diff2in1_mm.tasks.source_instances import Instances

SIZE = (40, 60)


def objects(*boxes, masks=False, ignored=()):
    boxes = np.array(boxes, float).reshape(-1, 4)
    drawn = np.zeros((len(boxes), *SIZE), bool)
    for mask, (left, top, right, bottom) in zip(drawn, boxes.astype(int)):
        mask[top:bottom, left:right] = True
    flags = np.isin(np.arange(len(boxes)), ignored)
    found = drawn if masks else None
    return Instances(boxes, np.arange(len(boxes)), np.ones(len(boxes)), flags, found)


def thing(height, width, corner, label=7):
    return CutOut(label, np.full((height, width, 3), 200, np.uint8), np.ones((height, width), bool), corner), corner


def pasted(found, *placed, **options):
    image = np.zeros((*SIZE, 3), np.uint8)
    numbers = paste_all(image, placed)
    assert np.array_equal(numbers > 0, image[..., 0] == 200)
    return with_objects(found, placed, numbers, **options)


class TestCut:
    def test_along_masks_or_boxes(self):
        image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
        found = objects((10, 5, 30, 25), (0, 0, 9, 9), (40, 30, 42, 32), (32, 4, 50, 20), masks=True, ignored=[3])
        found.masks[0, 5:15, 10:20] = False
        (cut,) = cut_objects(image, found, [0, 1, 2, 3])  # one at the border, one too small, one to be ignored
        assert cut.label == 0 and cut.corner == (5, 10) and cut.mask.sum() == 300 and cut.outlined
        assert np.array_equal(cut.image, image[5:25, 10:30])
        boxes = found._replace(masks=None)
        (cut,) = cut_objects(image, boxes, [0])
        assert cut.mask.all() and cut.mask.shape == (20, 20) and not cut.outlined
        assert cut_objects(image, boxes, [1, 2, 3]) == []

    def test_a_box_with_another_object_in_it_is_no_cut_out(self):
        image = np.zeros((*SIZE, 3), np.uint8)
        touching = objects((10, 10, 20, 20), (19, 10, 30, 20))  # a tenth
        assert [cut.label for cut in cut_objects(image, touching, [0, 1])] == [0, 1]
        overlapping = objects((10, 10, 20, 20), (18, 10, 40, 20))  # two tenths of the first, one of the other
        assert [cut.label for cut in cut_objects(image, overlapping, [0, 1])] == [1]
        outlined = objects((10, 10, 20, 20), (18, 10, 40, 20), masks=True)
        assert len(cut_objects(image, outlined, [0, 1])) == 2


class TestCovered:
    @pytest.mark.parametrize('masks', [True, False])
    def test_boxes_shrink_to_what_is_seen(self, masks):
        found = pasted(objects((10, 10, 30, 20), (40, 10, 50.4, 20), masks=masks), thing(20, 15, (5, 5)))
        assert found.bboxes.tolist() == [[20, 10, 30, 20], [40, 10, 50.4, 20], [5, 5, 20, 25]]
        assert found.labels.tolist() == [0, 1, 7] and not found.ignored.any()
        if masks:
            assert found.masks.sum((1, 2)).tolist() == [100, 100, 300]
            assert found.masks.sum(0).max() == 1  # nothing is two objects
        else:
            assert found.masks is None

    def test_what_is_hidden_is_dropped(self):
        beside = thing(20, 17, (5, 5))  # hides 12 of 20 columns
        found = objects((10, 10, 30, 20), masks=True)
        assert pasted(found, beside, hidden=0.6).labels.tolist() == [0, 7]
        assert pasted(found, beside, hidden=0.59).labels.tolist() == [7]
        assert pasted(found, thing(20, 40, (5, 5)), hidden=1.0).labels.tolist() == [7]
        assert pasted(objects((10, 10, 30, 20), ignored=[0]), thing(20, 40, (5, 5))).ignored.tolist() == [True, False]

    def test_things_over_things_and_beyond_the_image(self):
        far, near, out = thing(10, 10, (0, 10), 1), thing(10, 10, (5, 10), 2), thing(10, 10, (-9, 40), 3)
        half_out = thing(10, 10, (20, 55), 4)
        found = pasted(objects(masks=True)._replace(masks=None), far, near, out, half_out)
        assert found.labels.tolist() == [1, 2, 4]  # of the third a tenth is seen
        assert found.bboxes.tolist() == [[10, 0, 20, 5], [10, 5, 20, 15], [55, 20, 60, 30]]
        assert found.masks.sum((1, 2)).tolist() == [50, 100, 50]
        assert pasted(objects()).masks is None and pasted(objects()).bboxes.shape == (0, 4)
