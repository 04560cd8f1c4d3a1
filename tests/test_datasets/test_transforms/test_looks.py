"""Training images in the look of others."""

import cv2
import numpy as np
import pytest

from diff2in1_mm.datasets.transforms.looks import AddGrain, RecolouredCopies


@pytest.fixture
def copies(tmp_path):
    rng = np.random.default_rng(0)
    for i, middle in enumerate((20, 70, 180)):
        cv2.imwrite(str(tmp_path / f'{i}.png'), (middle + rng.integers(-15, 16, (8, 8, 3))).astype(np.uint8))
    return RecolouredCopies(str(tmp_path), copies=3)


def drawn(transform, path, number=60):
    image = np.full((6, 8, 3), 120, np.uint8)
    image[:3] = (200, 40, 90)
    return {transform(dict(img_path=path, img=image.copy()))['img'].tobytes() for _ in range(number)}


def test_only_so_many_pictures_of_a_file_one_of_them_itself(copies):
    np.random.seed(0)
    found = drawn(copies, 'data/b.png')
    assert 2 <= len(found) <= 4 and found == drawn(copies, 'elsewhere/b.png')


def test_blue_is_blue(copies, tmp_path):
    """Images of a pipeline are BGR."""
    (tmp_path / 'blue').mkdir()
    cv2.imwrite(str(tmp_path / 'blue/0.png'), np.full((8, 8, 3), (220, 30, 30), np.uint8))
    blue = RecolouredCopies(str(tmp_path / 'blue'), copies=20)
    images = [blue(dict(img_path='a.png', img=np.full((6, 8, 3), 120, np.uint8)))['img'] for _ in range(20)]
    changed = next(image for image in images if (image != 120).any())
    assert changed[..., 0].mean() > changed[..., 2].mean() + 100


def test_the_noise_of_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    noisy = 90 + 20 * rng.standard_normal((64, 64, 3))
    cv2.imwrite(str(tmp_path / '0.png'), noisy.round().clip(0, 255).astype(np.uint8))
    smooth = np.full((64, 64, 3), 120, np.uint8)
    smooth[:32] = 60
    plain, grainy = (RecolouredCopies(str(tmp_path), 1, grain=grain) for grain in (False, True))

    def noise(copies):
        results = copies.changed(dict(img_path='a.png', img=smooth.copy()), 0)
        return results['img'][36:].astype(float).std()

    assert noise(plain) < 1 and noise(grainy) == pytest.approx(20, abs=2)


def test_grain_of_another_draw_each_time_for_synthetic_images_too(tmp_path):
    rng = np.random.default_rng(0)
    noisy = 90 + 20 * rng.standard_normal((64, 64, 3))
    cv2.imwrite(str(tmp_path / '0.png'), noisy.round().clip(0, 255).astype(np.uint8))
    grain, smooth = AddGrain(str(tmp_path)), np.full((64, 64, 3), 120, np.uint8)
    once, again = (grain(dict(img=smooth.copy(), synthetic=True))['img'] for _ in range(2))
    assert once.astype(float).std() == pytest.approx(20, abs=2) and (once != again).any()
    rougher = (120 + 40 * rng.standard_normal((64, 64, 3))).round().clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(grain(dict(img=rougher.copy()))['img'], rougher)


def test_grain_of_so_much():
    smooth = np.full((64, 64, 3), 120, np.uint8)
    assert AddGrain(noise=8)(dict(img=smooth.copy()))['img'].astype(float).std() == pytest.approx(8, abs=0.5)


def test_grain_of_nothing_that_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match='AddGrain.images'):
        AddGrain(str(tmp_path / 'none'))
    for options in ({}, dict(images=str(tmp_path), noise=3)):
        with pytest.raises(ValueError, match='one of the two'):
            AddGrain(**options)
    for noise in (-1, 'much', True, float('nan'), 300):
        with pytest.raises(ValueError, match='AddGrain.noise = '):
            AddGrain(noise=noise)
