"""Changes of an image whose results come again, so that what is computed of them can be kept."""

from abc import abstractmethod

import numpy as np
from mmcv.transforms import BaseTransform

from ...utils.values import check_whole

__all__ = ['Copies']


class Copies(BaseTransform):
    """Draws one of so many results of a real image; synthetic ones stay as they are.

    Args:
        copies (int): Results of an image; the image itself comes as often as one of them.

    Raises:
        ValueError: ``copies`` is no whole number above 0.
    """

    def __init__(self, copies: int) -> None:
        check_whole(f'{type(self).__name__}.copies', copies)
        self.copies = copies

    def transform(self, results: dict) -> dict:
        """One of the results, or ``results`` as they are; ``SyntheticMixDataset`` says which samples are synthetic."""
        copy = np.random.randint(self.copies + 1)
        return results if copy == 0 or results.get('synthetic') else self.changed(results, copy)

    @abstractmethod
    def changed(self, results: dict, copy: int) -> dict:
        """The result of a number from 1 to ``copies``: for the same file always the same."""
