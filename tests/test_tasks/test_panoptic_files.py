import json

import cv2
import numpy as np
import pytest

from diff2in1_mm.tasks import build_task
from diff2in1_mm.tasks.panoptic import PanopticMap

from .test_instances_files import record

TASK = build_task('panoptic', ['person', 'car', 'sky'])


def files(tmp_path, annotation, shape):
    for suffix, content in TASK.encode(annotation, record(), shape).items():
        (tmp_path / f'a{suffix}').write_bytes(content)
    return tmp_path / 'a.json'


def test_round_trip(tmp_path):
    ids = np.array([[0, 1, 1, 2], [3, 3, 3, 2]])
    given = PanopticMap(ids, np.array([0, 2, 1]), 2)
    path = files(tmp_path, given, (2, 4))
    back = TASK.decode(path)
    np.testing.assert_array_equal(back.ids, ids)
    np.testing.assert_array_equal(back.labels, given.labels)
    assert back.num_things == 2
    info = {}
    TASK.point_at(info, path)
    assert [s['is_thing'] for s in info['segments_info']] == [True, False, True]
    assert [i['bbox'] for i in info['instances']] == [[1, 0, 3, 1], [0, 1, 3, 2]]
    categories = json.loads(path.read_text())['categories']
    assert [c['isthing'] for c in categories] == [1, 1, 0]


def test_a_segment_without_pixels_leaves_the_others_their_classes(tmp_path):
    ids = np.array([[0, 1], [3, 3]])
    back = TASK.decode(files(tmp_path, PanopticMap(ids, np.array([0, 1, 2]), 2), (2, 2)))
    np.testing.assert_array_equal(np.append(255, back.labels)[back.ids], [[255, 0], [2, 2]])


def test_a_picture_of_other_segments_is_refused(tmp_path):
    path = files(tmp_path, PanopticMap(np.array([[0, 1]]), np.array([0]), 2), (1, 2))
    cv2.imwrite(str(path.with_suffix('.png')), np.full((1, 2, 3), 7, np.uint8))
    with pytest.raises(ValueError, match='shows segment 460551, of which a.json'):
        TASK.decode(path)


def test_many_segments_take_more_than_one_colour(tmp_path):
    ids = np.arange(1, 601).reshape(20, 30)
    path = files(tmp_path, PanopticMap(ids, np.zeros(600, int), 1), (20, 30))
    np.testing.assert_array_equal(TASK.decode(path).ids, ids)
    red, green = cv2.imread(str(path.with_suffix('.png')))[-1, -1, ::-1][:2]
    assert int(red) + 256 * int(green) == 600


@pytest.mark.parametrize('kind', [np.uint8, np.int8, np.int16, np.uint16])
def test_maps_of_small_integers(tmp_path, kind):
    ids = np.array([[0, 1], [2, 2]], kind)
    path = files(tmp_path, PanopticMap(ids, np.array([0, 2], kind), 2), (2, 2))
    np.testing.assert_array_equal(TASK.decode(path).ids, ids)


def test_a_segment_that_nobody_names():
    with pytest.raises(ValueError, match='segments 0 to 2, but says what 1 are'):
        TASK.encode(PanopticMap(np.array([[0, 2]]), np.array([1]), 2), record(), (1, 2))
