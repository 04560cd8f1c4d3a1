"""Boxes and masks go through COCO files and come back; any numbers a detector may give."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip('pycocotools')

from diff2in1_mm.store.records import SampleRecord  # noqa: E402
from diff2in1_mm.tasks import build_task  # noqa: E402
from diff2in1_mm.tasks.coco import masks_to_polygons  # noqa: E402
from diff2in1_mm.tasks.instances import Instances  # noqa: E402

TASK = build_task('instances', ['a', 'b', 'c'])


def record(source=3, copy=1, round=2):
    return SampleRecord(
        id=f's{round}_{source}_{copy}',
        round=round,
        source=source,
        source_path='',
        copy=copy,
        seed=0,
        T=1,
        steps=1,
        solver='',
        caption='',
        checkpoint='',
    )


def instances(*rows, masks=None):
    rows = np.array(rows, float).reshape(-1, 6)
    return Instances(rows[:, :4], rows[:, 4].astype(int), rows[:, 5], rows[:, 5] < 0.5, masks)


def written(tmp_path, annotation, shape):
    content = TASK.encode(annotation, record(), shape)
    path = tmp_path / 'a.json'
    path.write_bytes(content['.json'])
    return path


def test_round_trip_with_masks(tmp_path):
    masks = np.zeros((2, 10, 12), bool)
    masks[0, 2:5, 1:7], masks[1, 9, 11] = True, True
    given_ = instances([1, 2, 7, 5, 2, 0.9], [11, 9, 12, 10, 0, 0.3], masks=masks)
    path = written(tmp_path, given_, (10, 12))
    back = TASK.decode(path)
    for name in ('bboxes', 'labels', 'scores', 'ignored', 'masks'):
        np.testing.assert_array_equal(getattr(back, name), getattr(given_, name))
    info = dict(img_path='x', instances=['old'])
    TASK.point_at(info, path)
    assert [i['ignore_flag'] for i in info['instances']] == [0, 1]
    assert info['instances'][0]['bbox'] == [1, 2, 7, 5] and info['height'] == 10
    area = [a['area'] for a in json.loads(path.read_text())['annotations']]
    assert area == [18, 1]


def test_polygons_are_the_same_pixels(tmp_path):
    from pycocotools import mask as coco_mask

    rows, columns = np.mgrid[:40, :60]
    masks = np.zeros((4, 40, 60), bool)
    masks[0] = (rows - 20) ** 2 + 2 * (columns - 25) ** 2 < 150
    masks[1, 3:30, 50:] = masks[1, 35:, :4] = True  # two parts, at the border
    masks[2, 7, 9] = True
    masks[3] = abs(rows - columns) < 2
    boxes = [[0, 0, 60, 40, 0, 0.9]] * 4
    info = dict(img_path='x')
    TASK.point_at(info, written(tmp_path, instances(*boxes, masks=masks), (40, 60)))
    masks_to_polygons(info)
    for instance, mask in zip(info['instances'], masks):
        assert all(len(part) >= 6 for part in instance['mask'])
        again = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(instance['mask'], 40, 60)))
        np.testing.assert_array_equal(again, mask)


def test_what_has_no_pixel_is_left_out(tmp_path):
    masks = np.zeros((3, 10, 12), bool)
    masks[0, 2:5, 1:7], masks[2, 0, 0] = True, True
    given_ = instances([1, 2, 7, 5, 2, 0.9], [1, 2, 7, 5, 1, 0.9], [12, 0, 20, 5, 0, 0.9], masks=masks)
    assert TASK.decode(written(tmp_path, given_, (10, 12))).labels.tolist() == [2]


def test_nothing_and_no_masks(tmp_path):
    path = written(tmp_path, instances(), (4, 4))
    assert len(TASK.decode(path).labels) == 0 and TASK.decode(path).masks is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-50, 90, width=32)] * 4, st.integers(0, 2), st.floats(0, 1)), max_size=8))
def test_boxes_lie_inside_whatever_a_detector_gives(rows):
    content = json.loads(TASK.encode(instances(*rows), record(), (40, 30))['.json'])
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= 30 and y + height <= 40


def test_ids_never_meet(tmp_path):
    paths, rows = [], [[0, 0, 5, 5, 0, 1.0]] * 3
    for i, key in enumerate([(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]):
        source, copy, round = key
        path = tmp_path / f'{i}.json'
        path.write_bytes(TASK.encode(instances(*rows), record(source, copy, round), (9, 9))['.json'])
        paths.append(path)
    whole = json.loads(b''.join(TASK.merge(iter(paths))['instances.json']))
    for part, count in (('images', 4), ('annotations', 12)):
        assert len({entry['id'] for entry in whole[part]}) == count
    assert len(whole['categories']) == 3
    # pycocotools' COCO.info() and loadRes(), and other readers, ask for these
    assert whole['info']['description'] and whole['licenses'] == []


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match='class indices 0 to 3'):
        TASK.encode(instances([0, 0, 1, 1, 0, 1], [0, 0, 1, 1, 3, 1]), record(), (4, 4))
    with pytest.raises(ValueError, match=r'masks \(1, 2, 2\) for an image \(4, 4\)'):
        TASK.encode(instances([0, 0, 1, 1, 0, 1], masks=np.ones((1, 2, 2), bool)), record(), (4, 4))


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match='COCO file'):
        TASK.decode(path)
