import numpy as np
import pytest
import torch

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.visualization.features import attention_pictures, components


def test_components_follow_what_differs():
    feature = torch.zeros(4, 6, 6)
    feature[2, :, 3:] = 5
    picture = components(feature)
    assert picture.shape == (6, 6, 3) and abs(int(picture[0, 0, 0]) - int(picture[0, 5, 0])) == 255


def test_a_word_is_bright_where_the_u_net_looks_for_it():
    pytest.importorskip('mmseg')
    rooms = load_diffusion('diff2in1_mm/rooms')
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    pictures = attention_pictures(rooms, image, ['lamp', 'window'])
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.shape == image.shape and picture.dtype == np.uint8 and (picture <= image).all()
    # what is not looked for by one word of two is by the other
    seen = [picture.mean(2) / np.maximum(image.mean(2), 1) for picture in pictures]
    assert np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1] < -0.5
