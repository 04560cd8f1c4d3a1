"""How far the labels of several tasks agree."""

import numpy as np
import pytest

from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.datasets.rooms.scene import draw_scene
from diff2in1_mm.tasks.consistency import check_consistency, check_tasks, consistency, is_consistent, normals_of_depth
from diff2in1_mm.utils.errors import UserError


@pytest.fixture(scope='module')
def room():
    return render_room(5, (48, 64))


def labels(room, **changed):
    return dict(
        dict(segmentation=room.classes, depth=room.depth, normals=room.normals, boundaries=room.boundaries), **changed
    )


def test_rendered_labels_agree_and_others_do_not(room):
    focal = draw_scene(5).camera.focal
    found = consistency(labels(room), focal)
    assert found['consistency.depth_normals'] < 2  # median, beside edges
    assert found['consistency.segmentation_boundaries'] > 0.9
    mirrored = labels(room, normals=room.normals * [-1, 1, 1], boundaries=np.rot90(room.boundaries, 2))
    other = consistency(mirrored, focal)
    assert other['consistency.depth_normals'] > 5 + found['consistency.depth_normals']
    assert other['consistency.segmentation_boundaries'] < 0.8


def test_a_tilted_plane_has_its_normal():
    normal = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])
    y, x = np.mgrid[:20, :30].astype(float)
    rays = np.stack([(x + 0.5 - 15) / 24, (10 - y - 0.5) / 24, -np.ones_like(x)], -1)  # focal 0.8 of 30
    depth = -2 / (rays @ normal)
    depth[3, 4] = 0
    found = normals_of_depth(depth, 0.8)
    assert not found[3, 3].any() and not found[0].any()
    np.testing.assert_allclose(found[10:19, 10:29], np.broadcast_to(normal, (9, 19, 3)), atol=1e-3)


def test_labels_that_are_not_there_have_no_figure(room):
    assert consistency(dict(depth=room.depth, segmentation=room.classes)) == {}
    assert consistency(dict(depth=0 * room.depth, normals=room.normals)) == {}


def test_limits():
    quality = {'consistency.depth_normals': 20.0, 'consistency.segmentation_boundaries': 0.5}
    assert is_consistent(quality, {}) and is_consistent({}, dict(depth_normals=1))
    assert is_consistent(quality, dict(depth_normals=21, segmentation_boundaries=0.4, focal=1.0))
    assert not is_consistent(quality, dict(depth_normals=19))
    assert not is_consistent(quality, dict(segmentation_boundaries=0.6))
    for limits, words in (
        (3, 'is a dict of focal'),
        (dict(depth_normal=3), 'depth_normals'),
        (dict(focal=0), 'above 0'),
    ):
        with pytest.raises(ValueError, match=words):
            check_consistency(limits)


def test_a_limit_that_the_tasks_cannot_break_is_named():
    check_tasks(dict(depth_normals=30, focal=1.0), ('depth_npy', 'normals'))
    with pytest.raises(UserError, match=r"'segmentation_boundaries'\] compares segmentation with boundaries, "):
        check_tasks(dict(segmentation_boundaries=0.3), ('segmentation', 'depth'))
