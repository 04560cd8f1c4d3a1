"""The picture of a photograph and its variants: what stands where."""

import numpy as np
import pytest

from diff2in1_mm.visualization.variants import Pair, variants_picture, with_legend

LEGEND = [('road', (250, 0, 0)), ('sky', (0, 250, 0)), ('building', (0, 0, 250))]


def colour(value):
    """No grey, of which text has every one."""
    return value, value, 0


def flat(value, size=(200, 240)):
    return np.full((*size, 3), colour(value), np.uint8)


def rows(copies):
    """Variants of the values 63 to 71, predictions of 163 to 171."""
    return [(100 * r, [Pair(flat(60 + 3 * r + c), flat(160 + 3 * r + c)) for c in range(copies)]) for r in range(1, 4)]


def corner(picture, rgb):
    """(y, x) of the upper left pixel of this colour."""
    found = np.argwhere((picture == rgb).all(-1))
    assert len(found), f'{rgb} is not in the picture'
    return tuple(found.min(0))


@pytest.mark.parametrize('copies', [1, 2, 3])
def test_columns_line_up(copies):
    picture = variants_picture(Pair(flat(20, (400, 480)), flat(220)), rows(copies), 'title', LEGEND)
    left, right = corner(picture, colour(20)), corner(picture, colour(220))
    assert left[0] == right[0] and right[1] > left[1]
    below = left[0]
    for r in range(1, 4):
        first, label = (corner(picture, colour(value + 3 * r)) for value in (60, 160))
        assert first[1] == left[1] and label[1] == right[1]
        assert first[0] == label[0] > below
        below = first[0]
        assert (picture == colour(60 + 3 * r)).all(-1).sum() == 200 * 240  # whole and not resized


@pytest.mark.parametrize('copies, beside', [(1, False), (2, True)])
def test_legend_takes_the_free_place(copies, beside):
    picture = variants_picture(Pair(flat(20), flat(220)), rows(copies), 'title', LEGEND)
    y, x = corner(picture, LEGEND[0][1])
    assert (y < corner(picture, colour(63))[0]) == beside
    for _, rgb in LEGEND:
        corner(picture, rgb)


def test_long_title_and_many_classes_fit():
    many = [(f'a class with a long name {i}', (i, 255, 0)) for i in range(150)]
    picture = variants_picture(Pair(flat(20), flat(220)), rows(2), 'very long ' * 100, many)
    corner(picture, (149, 255, 0))
    assert picture.shape[1] == variants_picture(Pair(flat(20), flat(220)), rows(2), '').shape[1]


def test_legend_leaves_the_picture_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    picture = with_legend(image, LEGEND)
    assert picture.shape[1] == 60 and (picture[:50] == image).all()
    for _, rgb in LEGEND:
        corner(picture[50:], rgb)
    assert with_legend(image, []).shape == image.shape
