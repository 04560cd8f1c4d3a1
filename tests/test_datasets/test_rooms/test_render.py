"""Pictures of rooms and their labels."""

import numpy as np
import pytest

from diff2in1_mm.datasets.rooms.furniture import CLASSES
from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.datasets.rooms.scene import draw_scene

SEEDS = (3, 14, 25)


@pytest.fixture(scope='module')
def rooms():
    return {seed: render_room(seed, (64, 96)) for seed in SEEDS}


def test_every_label_has_the_size_of_the_picture(rooms):
    for room in rooms.values():
        assert room.image.shape == (64, 96, 3) and room.image.dtype == np.uint8
        assert room.image.std() > 10  # not an empty picture
        assert room.classes.shape == room.depth.shape == room.instances.shape == (64, 96)
        assert room.classes.max() < len(CLASSES)
        assert 0.05 < room.depth.min() and room.depth.max() < 9


def test_a_seed_is_a_room(rooms):
    again = render_room(SEEDS[0], (64, 96))
    for name in ('image', 'classes', 'depth', 'normals', 'instances'):
        np.testing.assert_array_equal(getattr(again, name), getattr(rooms[SEEDS[0]], name))
    assert again.caption == rooms[SEEDS[0]].caption
    assert not np.array_equal(again.image, rooms[SEEDS[1]].image)


def test_normals_agree_with_depth(rooms):
    """Neighbouring points of one plane span it: their difference is at right angles to n."""
    for seed, room in rooms.items():
        camera = draw_scene(seed).camera
        rays = camera.rays(64, 96, (0.5, 0.5)) @ camera.axes.T
        points = rays * room.depth[..., None]
        step = points[:, 1:] - points[:, :-1]
        same = (
            (room.instances[:, 1:] == 0)
            & (room.instances[:, :-1] == 0)
            & (room.normals[:, 1:] == room.normals[:, :-1]).all(-1)
        )
        assert same.sum() > 500
        across = np.abs((step * room.normals[:, 1:]).sum(-1))[same]
        assert across.max() < 1e-3  # metres
        towards = (room.normals * -points).sum(-1)
        assert (towards > 0).mean() > 0.99  # every surface faces the camera


def test_classes_are_by_kind(rooms):
    for room in rooms.values():
        for number, kind in room.kinds.items():
            assert set(np.unique(room.classes[room.instances == number])) == {kind}
        surfaces = np.unique(room.classes[room.instances == 0])
        assert set(surfaces) <= {0, 1, 2}
        floor = room.classes == 1
        # floors face up: in the camera's frame mostly along +y
        assert (room.normals[floor, 1] > 0.5).all()


def test_boundaries_are_where_a_neighbour_is_something_else(rooms):
    room = rooms[SEEDS[0]]
    key = room.instances * 100 + room.classes
    padded = np.pad(key, 1, mode='edge')
    other = np.zeros(key.shape, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other |= padded[y : y + 64, x : x + 96] != key
    np.testing.assert_array_equal(room.boundaries, other)
    assert 0.01 < other.mean() < 0.3


def test_a_size_is_only_a_finer_grid():
    small, large = render_room(5, (32, 32)), render_room(5, (96, 96))
    # the middle of a small pixel is the middle of the 3x3 large ones
    np.testing.assert_array_equal(small.classes, large.classes[1::3, 1::3])
    np.testing.assert_allclose(small.depth, large.depth[1::3, 1::3], rtol=1e-4)


def test_captions_name_what_is_seen():
    captions = [render_room(seed, (48, 48)).caption for seed in range(30)]
    assert all(text.startswith('a room with a ') for text in captions)
    assert any(' beside a ' in text for text in captions)
    assert len(set(captions)) > 25
    assert not any(' a orange' in text for text in captions)


def test_too_small():
    with pytest.raises(ValueError, match='at least 16x16'):
        render_room(0, (8, 128))
