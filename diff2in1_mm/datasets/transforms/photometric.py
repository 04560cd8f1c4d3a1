"""Photometric distortion whose results come again."""

import os.path as osp

import numpy as np
from mmengine.registry import TRANSFORMS

from ...utils.randomness import stable_seed
from .copies import Copies

__all__ = ['PhotometricCopies']


@TRANSFORMS.register_module()
class PhotometricCopies(Copies):
    """The library's ``PhotoMetricDistortion``, but only so many different results of an image.

    As strong as the original for training on few images, and a frozen backbone's features of the copies can be kept
    (``cached_images``). Synthetic images stay as they are.

    Args:
        copies (int): Distorted copies; the image itself comes as often as one of them. Default 4.
        **options: Of ``PhotoMetricDistortion`` of MMSegmentation or MMDetection, as the default scope says.

    Raises:
        ValueError: ``copies`` is no whole number above 0.
    """

    def __init__(self, copies: int = 4, **options) -> None:
        super().__init__(copies)
        self.distort = TRANSFORMS.build(dict(type='PhotoMetricDistortion', **options))

    def changed(self, results: dict, copy: int) -> dict:
        """Distorts ``img``, by a seed of the file's name and the copy that was drawn."""
        state = np.random.get_state()
        np.random.seed(stable_seed(osp.basename(results['img_path']), copy) % 2**32)
        try:
            return self.distort(results)
        finally:
            np.random.set_state(state)
