"""Seven labelled images and a small segmentor on the tiny diffusion model."""

import pytest

from ..tiny_segmentation import build_dataset, build_model, make_images


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp('data'))


@pytest.fixture
def dataset(root):
    return build_dataset(root)


@pytest.fixture
def model(pipeline_folder):
    return build_model(pipeline_folder)
