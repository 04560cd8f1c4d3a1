"""A folder predicted in batches is what each image alone is; the test_demo package has whole runs."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diff2in1_mm.visualization.batches import draw_in_batches

SIZES = {'a': 4, 'b': 4, 'c': 4, 'd': 5, 'e': 4, 'f': 4}


@pytest.fixture
def predictor():
    """Of numbers: names of images that it was given together are in ``batches``."""
    batches = []

    def read(path):
        if path == 'broken':
            raise OSError('no image')
        return dict(inputs=torch.zeros(3, SIZES[path], 4), name=path)

    def predict_together(items):
        batches.append([item['name'] for item in items])
        return [item['name'].upper() for item in items]

    return SimpleNamespace(read=read, predict_together=predict_together, batches=batches)


def load(path):
    return np.full((2, 2, 3), ord(path[0]), np.uint8)


def test_one_size_together_and_drawn_in_order_in_one_thread(predictor):
    drawn, threads = [], set()

    def draw(path, image, prediction):
        threads.add(threading.get_ident())
        drawn.append((path, int(image[0, 0, 0]), prediction))

    told = list(draw_in_batches(predictor, [*'abc', 'broken', *'def'], load, draw, batch_size=2))
    assert predictor.batches == [['a', 'b'], ['c'], ['d'], ['e', 'f']]
    assert drawn == [(name, ord(name), name.upper()) for name in 'abcdef']
    assert len(threads) == 1 and threading.get_ident() not in threads
    errors = {path: error for path, error in told if error is not None}
    assert list(errors) == ['broken'] and sorted(path for path, _ in told) == sorted([*'abcdef', 'broken'])


def test_few_images_are_in_memory(predictor):
    read, written = [], []
    SIZES.update({f'{i}': 4 for i in range(100)})

    def draw(path, image, prediction):
        written.append(path)
        assert len(read) - len(written) <= 6 * 4 + 4

    def counted(path):
        read.append(path)
        return load(path)

    assert len(list(draw_in_batches(predictor, map(str, range(100)), counted, draw, batch_size=4))) == 100
    assert len(written) == 100


def test_what_goes_wrong_in_drawing_or_predicting_is_raised(predictor):
    def draw(path, image, prediction):
        raise PermissionError(path)

    with pytest.raises(PermissionError, match='a'):
        list(draw_in_batches(predictor, ['a'], load, draw))
    predictor.predict_together = lambda items: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(draw_in_batches(predictor, ['a'], load, lambda *args: None))
