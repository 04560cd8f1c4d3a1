"""Changes of real images alone, within the mix that training reads."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from ..folders import LOADING, add_samples, base_config, grey, make_folder, open_store

pytest.importorskip('mmseg.datasets')

PACK = [dict(type='mmseg.PackSegInputs')]


@pytest.fixture(params=['PhotometricCopies', 'RecolouredCopies'])
def copies(request, tmp_path):
    """The config of a transform, most of whose results have another grey than a folder's images."""
    init_default_scope('mmseg')
    if request.param == 'PhotometricCopies':
        return dict(type=request.param, copies=6, brightness_delta=100)
    (tmp_path / 'night').mkdir()
    cv2.imwrite(str(tmp_path / 'night/0.png'), np.random.default_rng(0).integers(150, 250, (8, 8, 3), np.uint8))
    return dict(type=request.param, copies=6, images=str(tmp_path / 'night'))


@pytest.mark.parametrize('inside_a_wrapper', [False, True])
def test_synthetic_images_stay_as_they_are(tmp_path, copies, inside_a_wrapper):
    root = make_folder(tmp_path / 'real', 3)
    if inside_a_wrapper:
        real = base_config(root, pipeline=LOADING)
        real = dict(type='mmseg.MultiImageMixDataset', dataset=real, pipeline=[copies, *PACK])
    else:
        real = base_config(root, pipeline=[*LOADING, copies, *PACK])
    add_samples(open_store(tmp_path / 'store'), range(3))
    mix = DATASETS.build(dict(type='SyntheticMixDataset', dataset=real, store=str(tmp_path / 'store'), round=0))
    np.random.seed(0)
    seen = [[grey(mix[slot]) for _ in range(30)] for slot in range(6)]
    assert all(len(set(greys)) > 1 for greys in seen[:3])  # real: the image itself, and others
    assert seen[3:] == [[100 + source] * 30 for source in range(3)]


def test_a_number_of_copies_that_is_none_is_named(copies):
    with pytest.raises(ValueError, match=f'{copies["type"]}.copies'):
        TRANSFORMS.build(dict(copies, copies=0))
