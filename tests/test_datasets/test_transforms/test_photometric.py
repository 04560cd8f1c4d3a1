"""Photometric copies that come again."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from diff2in1_mm.datasets.transforms.photometric import PhotometricCopies


@pytest.fixture
def copies():
    init_default_scope('mmseg')
    return PhotometricCopies(3)


def drawn(transform, path, number=60):
    image = np.full((6, 8, 3), 120, np.uint8)
    image[:3] = (200, 40, 90)
    return [transform(dict(img_path=path, img=image.copy()))['img'] for _ in range(number)]


def test_only_so_many_pictures_of_a_file_one_of_them_itself(copies):
    np.random.seed(0)
    found = {image.tobytes() for image in drawn(copies, 'data/a.png')}
    again = {image.tobytes() for image in drawn(copies, 'elsewhere/a.png')}
    assert 2 <= len(found) <= 4 and found == again
    assert {image.tobytes() for image in drawn(copies, 'data/b.png')} != found


def test_the_draw_of_others_goes_on_as_if_nothing_had_been_distorted(copies):
    np.random.seed(5)
    expected = [np.random.randint(4) for _ in range(10)]
    np.random.seed(5)
    image = np.zeros((4, 4, 3), np.uint8)
    seen = []
    original = np.random.randint
    try:
        np.random.randint = lambda *args: seen.append(original(*args)) or seen[-1] if args == (4,) else original(*args)
        for _ in range(10):
            copies(dict(img_path='data/a.png', img=image))
    finally:
        np.random.randint = original
    assert seen == expected
