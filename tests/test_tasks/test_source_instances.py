"""Objects of source images: what is painted where they are."""

import numpy as np

from diff2in1_mm.tasks.source_instances import painted, source_label

TABLE = np.array([600, 0, 100], np.uint16)


def entry(*objects, **more):
    instances = [dict(bbox=box, bbox_label=label, ignore_flag=0, **more) for box, label in objects]
    return dict(instances=instances, height=8, width=8, img_path='x.png')


def test_boxes_of_the_lowest_level_lie_above():
    label = source_label(entry(([0, 0, 4, 4], 1), ([2, 2, 6, 6], 2), ([6, 6, 8, 8], 0)), (8, 8))
    picture = painted(label.annotation, (8, 8), TABLE, 400)
    assert (picture[:4, :4] == 0).all() and (picture[4:6, 2:6] == 100).all() and (picture[6:, 6:] == 600).all()
    assert picture[0, 7] == 400 and picture.dtype == np.uint16


def test_masks_count_where_there_are_some_and_sizes_change():
    triangle = [[0, 0, 8, 0, 0, 8]]
    label = source_label(entry(([0, 0, 8, 8], 1), mask=triangle), (16, 16))
    picture = painted(label.annotation, (16, 16), TABLE, 400)
    assert picture[1, 1] == 0 and picture[14, 14] == 400


def test_an_image_without_objects():
    assert (painted(source_label(entry(), (4, 4)).annotation, (4, 4), TABLE, 7) == 7).all()
