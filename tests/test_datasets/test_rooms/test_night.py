"""The same rooms by night."""

import numpy as np
import pytest

from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.datasets.rooms.scene import draw_scene
from diff2in1_mm.datasets.rooms.segmentation import RoomsDataset

SEEDS = range(6)


def test_a_night_has_the_labels_of_its_day_in_little_coloured_light():
    brightness, noise = [], []
    for seed in SEEDS:
        day, night = render_room(seed, (48, 64)), render_room(seed, (48, 64), 'night')
        for name in ('classes', 'depth', 'normals', 'instances'):
            np.testing.assert_array_equal(getattr(night, name), getattr(day, name))
        assert night.caption == f'{day.caption} at night'
        brightness.append(night.image.mean() / day.image.mean())
        noise.append([np.abs(np.diff(room.image[::8].astype(float), axis=1)).mean() for room in (day, night)])
    assert np.mean(brightness) < 0.6 and max(brightness) < 0.9
    assert np.mean([night > day for day, night in noise]) > 0.5


def test_a_night_is_drawn_by_the_seed_and_leaves_the_day_alone():
    before = draw_scene(3)
    night = render_room(3, (32, 32), 'night').image
    assert np.array_equal(render_room(3, (32, 32), 'night').image, night)
    assert np.array_equal(draw_scene(3).ambient, before.ambient)


def test_a_world_has_one_hour(tmp_path):
    options = dict(data_root=str(tmp_path), count=2, split='few', size=(16, 24))
    assert len(RoomsDataset(hour='night', **options)) == 2
    assert RoomsDataset(hour='night', **options).get_data_info(0)['caption'].endswith(' at night')
    with pytest.raises(ValueError, match='another world'):
        RoomsDataset(**options)


def test_an_hour_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match="hour must be one of .* not 'dusk'"):
        make_rooms(str(tmp_path / 'new'), hour='dusk')
    assert not (tmp_path / 'new').exists()
