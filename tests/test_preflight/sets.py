"""Small data sets of label maps on the disk."""

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from ..test_datasets.folders import base_config

STRIPES = np.arange(8)[None].repeat(6, 0) % 3


def folder(root, maps, size=(6, 8), orientation=None, suffix='.png'):
    """A data set of these maps, with images (height, width) that say to be turned."""
    for i, labels in enumerate(maps):
        for name in ('images', 'annotations'):
            (root / name).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None and i:
            exif[0x0112] = orientation
        Image.fromarray(np.full((*size, 3), i, np.uint8)).save(root / f'images/{i}{suffix}', exif=exif)
        Image.fromarray(np.asarray(labels)).save(root / f'annotations/{i}.png')
    return root


def build(root, **options):
    return DATASETS.build(base_config(root, **options))
