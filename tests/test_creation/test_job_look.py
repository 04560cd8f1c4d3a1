"""Source images in the look of other pictures before they are noised."""

import cv2
import numpy as np
import pytest

from diff2in1_mm.creation.create import create
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

AS_IT_IS = dict(steps=1, T={'default': 1, 'sky': 0, 'tree': 0, 'road': 0}, label_from='source')  # all of it stays


@pytest.fixture
def nights(tmp_path):
    (tmp_path / 'nights').mkdir()
    for i, middle in enumerate((25, 40)):
        noise = np.random.default_rng(i).integers(-10, 11, (16, 16, 3))
        cv2.imwrite(str(tmp_path / f'nights/{i}.png'), (middle + noise).astype(np.uint8))
    return str(tmp_path / 'nights')


def test_samples_are_as_dark_as_the_pictures(tmp_path, model, dataset, nights):
    create(model, dataset, tmp_path / 'day', **AS_IT_IS)
    create(model, dataset, tmp_path / 'night', look=nights, **AS_IT_IS)
    day, night = SyntheticStore(tmp_path / 'day'), SyntheticStore(tmp_path / 'night')
    assert len(day) == len(night) > 0
    for one, other in zip(day.records(), night.records()):
        (bright, label), (dark, same) = day.read(one), night.read(other)
        assert dark.mean() < 60 < bright.mean() and dark.std() < bright.std()
        for task in label:
            np.testing.assert_array_equal(label[task], same[task])


def test_other_pictures_are_another_store(tmp_path, model, dataset, nights):
    create(model, dataset, tmp_path / 's', look=nights, limit=1, **AS_IT_IS)
    create(model, dataset, tmp_path / 's', look=nights, limit=2, **AS_IT_IS)
    cv2.imwrite(f'{nights}/2.png', np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(StoreMismatch, match='look'):
        create(model, dataset, tmp_path / 's', look=nights, **AS_IT_IS)


def test_pictures_that_are_missing_or_broken_are_told_before_the_warm_up(tmp_path, model, dataset):
    with pytest.raises(FileNotFoundError, match='creation.look'):
        check_creation(model, dict(look=str(tmp_path / 'nowhere')), dataset)
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken/a.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match='none of the 1 pictures of creation.look can be read'):
        check_creation(model, dict(look=str(tmp_path / 'broken')), dataset)
