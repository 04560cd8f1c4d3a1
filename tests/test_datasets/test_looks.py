"""Light and colours of other pictures."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diff2in1_mm.datasets.looks import Looks, look_of, recoloured


def grey(middle: int, spread: int, size=(24, 32)) -> np.ndarray:
    """A picture of greys around a middle."""
    rng = np.random.default_rng(middle)
    return np.repeat((middle + rng.integers(-spread, spread + 1, (*size, 1))).astype(np.uint8), 3, -1)


@settings(max_examples=30, deadline=None)
@given(st.integers(90, 160), st.integers(5, 40), st.integers(60, 190), st.integers(5, 20))
def test_an_image_gets_mean_and_deviation_and_keeps_its_order(middle, spread, wanted, deviation):
    image, look = grey(middle, spread), look_of(grey(wanted, deviation))
    found = recoloured(image, look)
    mean, std, _ = look_of(found)
    assert mean == pytest.approx(look[0], abs=0.5)
    assert std[0] == pytest.approx(look[1][0], rel=0.15, abs=0.3)
    order = np.argsort(image[..., 0].ravel(), kind='stable')
    assert (np.diff(found[..., 0].ravel()[order].astype(int)) >= 0).all()


def test_its_own_look_changes_nothing_and_one_colour_is_not_stretched():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.abs(recoloured(image, look_of(image)).astype(int) - image).max() <= 1
    flat = np.full((8, 8, 3), 90, np.uint8)
    assert len(np.unique(recoloured(flat, look_of(image)).reshape(-1, 3), axis=0)) == 1


def test_a_number_draws_a_picture(tmp_path):
    for i, middle in enumerate((30, 200)):
        cv2.imwrite(str(tmp_path / f'{i}.png'), grey(middle, 10))
    looks = Looks(str(tmp_path))
    dark, bright = looks(grey(120, 30), 0), looks(grey(120, 30), 1)
    assert dark.mean() == pytest.approx(30, abs=3) and bright.mean() == pytest.approx(200, abs=3)
    assert np.array_equal(looks(grey(120, 30), 2), dark)


def test_pictures_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match='none of the 1 pictures of creation.look can be read'):
        Looks(str(tmp_path), 'creation.look')(grey(120, 30), 0)
    cv2.imwrite(str(tmp_path / 'b.png'), grey(60, 10))
    assert Looks(str(tmp_path))(grey(120, 30), 0).mean() == pytest.approx(60, abs=3)


@pytest.mark.parametrize('bad', [3, None])
def test_what_is_no_folder_is_refused(bad):
    with pytest.raises(ValueError, match='must be a folder of pictures'):
        Looks(bad, 'creation.look')


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='give creation.look the folder'):
        Looks(str(tmp_path / 'none'), 'creation.look')


def test_spawned_workers_are_handed_it(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), grey(60, 10))
    looks = Looks(str(tmp_path))
    before = looks(grey(120, 30), 0)
    assert np.array_equal(pickle.loads(pickle.dumps(looks))(grey(120, 30), 0), before)
