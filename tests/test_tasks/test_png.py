"""Pictures as arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from diff2in1_mm.tasks.png import decode_png, encode_png


@pytest.mark.parametrize('shape, dtype', [((4, 5), np.uint8), ((4, 5), np.uint16), ((4, 5, 3), np.uint8)])
def test_there_and_back(shape, dtype):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    assert np.array_equal(decode_png(encode_png(array)), array)


def test_a_palette_is_left_aside():
    indices = np.array([[0, 3, 1], [3, 255, 0]], np.uint8)
    picture = Image.fromarray(indices, 'P')
    picture.putpalette([i for colour in range(256) for i in (colour, 0, 255 - colour)])
    file = io.BytesIO()
    picture.save(file, 'PNG')
    assert np.array_equal(decode_png(file.getvalue()), indices)
    assert decode_png(file.getvalue()[:60]) is None


def test_what_is_no_picture():
    assert decode_png(b'') is None and decode_png(b'no picture') is None
