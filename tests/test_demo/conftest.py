"""A segmentor and a detector on disk, made once."""

import importlib.util
from types import SimpleNamespace

import pytest

import diff2in1_mm

from . import tiny


def _files(folder, pipeline, text):
    config = tiny.write_config(folder, pipeline, text)
    checkpoint = tiny.write_checkpoint(config, folder / 'w.pth')
    return SimpleNamespace(config=config, checkpoint=checkpoint)


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory, pipeline_folder):
    return _files(tmp_path_factory.mktemp('segmentor'), pipeline_folder, tiny.SEGMENTOR)


@pytest.fixture(scope='session')
def detector(tmp_path_factory, pipeline_folder):
    pytest.importorskip('mmdet')
    return _files(tmp_path_factory.mktemp('detector'), pipeline_folder, tiny.DETECTOR)


@pytest.fixture(scope='session')
def demo():
    """demo/image_demo.py as a module."""
    spec = importlib.util.spec_from_file_location('image_demo', diff2in1_mm.tool_path('demo/image_demo.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
