"""Pasting of labelled things while training."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...utils.errors import UserError
from ...utils.randomness import stable_seed
from ...utils.values import check_whole, is_number
from ..pasting import DONORS, Composer

__all__ = ['PasteThings']


@TRANSFORMS.register_module()
class PasteThings(BaseTransform):
    """Pastes things of other labelled images, see :class:`Composer`.

    A transform of MMSegmentation's ``MultiImageMixDataset``, whose data set loads images and label maps. MMDetection
    has ``CopyPaste`` for instances.

    Args:
        classes (Sequence[str]): Names of the things.
        prob (float): Share of images that get any. Default 0.5.
        variants (int | None): Only so many compositions of an image, so that a frozen backbone's features of them can
            be kept. Default None: always new ones.
        **options: Of :class:`Composer`.

    Raises:
        ValueError: A name is no class, or a number out of range.
    """

    def __init__(self, classes: Sequence[str], prob: float = 0.5, variants: int | None = None, **options: Any) -> None:
        if not is_number(prob, 0, 1):
            raise UserError(f'PasteThings.prob = {prob!r} must be a number from 0 to 1')
        if variants is not None:
            check_whole('PasteThings.variants', variants)
        self.composer, self.prob, self.variants = Composer(classes, **options), prob, variants
        self._dataset: Any = None

    def get_indices(self, dataset: Any) -> list[int]:
        """Remembers where donors come from; :meth:`transform` draws them itself, by the image at hand."""
        if dataset is not self._dataset:
            self.composer.know(dataset.metainfo.get('classes'))
            self._dataset = dataset
        return []

    def transform(self, results: dict) -> dict:
        """Pastes into ``img`` and ``gt_seg_map``.

        Raises:
            ValueError: The pipeline before has not loaded them, or has loaded other maps, too, or this is no part of
                ``MultiImageMixDataset``.
        """
        if self._dataset is None or 'gt_seg_map' not in results:
            raise UserError(
                'PasteThings needs the images of the data set: put it into the pipeline of a MultiImageMixDataset, '
                'whose data set loads images and label maps (LoadImageFromFile, LoadAnnotations)'
            )
        others = [field for field in results.get('seg_fields', ()) if field != 'gt_seg_map']
        if others:
            raise UserError(
                f'PasteThings pastes into images and label maps, and {", ".join(others)} would stay as they were: load '
                'label maps alone, or leave it out'
            )
        rng = self._generator(results)
        if rng.random() < self.prob:
            donors = [self._dataset[int(index)] for index in rng.integers(len(self._dataset), size=DONORS)]
            pairs = [(donor['img'], donor['gt_seg_map']) for donor in donors]
            results['img'], results['gt_seg_map'] = self.composer.compose(
                results['img'], results['gt_seg_map'], pairs, rng
            )
        return results

    def _generator(self, results: dict) -> np.random.Generator:
        number = int(np.random.randint(self.variants or 2**31))
        if self.variants is None:
            return np.random.default_rng(number)
        return np.random.default_rng(stable_seed(osp.basename(results['img_path']), 'paste', number))
