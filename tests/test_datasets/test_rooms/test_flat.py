"""The same rooms as a cheap simulator draws them."""

import numpy as np
import pytest

from diff2in1_mm.datasets.looks import noise_of
from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.datasets.rooms.segmentation import RoomsDataset

SEEDS = range(6)


def test_a_flat_room_has_the_labels_and_the_caption_of_the_full_one():
    for seed in SEEDS:
        full, flat = render_room(seed, (48, 64)), render_room(seed, (48, 64), shading='flat')
        for name in ('classes', 'depth', 'normals', 'instances'):
            np.testing.assert_array_equal(getattr(flat, name), getattr(full, name))
        assert flat.caption == full.caption


def test_it_has_neither_noise_nor_textures_and_is_as_bright():
    brightness, noise = [], []
    for seed in SEEDS:
        full, flat = render_room(seed, (96, 96)).image, render_room(seed, (96, 96), shading='flat').image
        brightness.append(flat.mean() / full.mean())
        noise.append(noise_of(flat) / noise_of(full))
    assert 0.8 < np.mean(brightness) < 1.25
    assert np.mean(noise) < 0.4


def test_a_world_has_one_shading(tmp_path):
    options = dict(data_root=str(tmp_path), count=2, split='few', size=(16, 24))
    assert len(RoomsDataset(shading='flat', **options)) == 2
    with pytest.raises(ValueError, match='another world'):
        RoomsDataset(**options)


def test_a_shading_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match="shading must be one of .* not 'phong'"):
        make_rooms(str(tmp_path / 'new'), shading='phong')
    assert not (tmp_path / 'new').exists()
