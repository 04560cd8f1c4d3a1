"""The look of other pictures: their light and colours, given to an image that keeps everything else."""

import logging
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from mmengine.logging import print_log

from ..utils.errors import UnusableFileError, UserError
from .image_folder import find_images
from .source_images import load_image

__all__ = ['Looks', 'recoloured']

_LEAST = 0.5  # deviation of a colour axis, of 100: a picture of one colour has none to be stretched
Statistics = tuple[np.ndarray, np.ndarray]


def statistics_of(image: np.ndarray) -> Statistics:
    """Mean and deviation of an image's CIELAB axes, float32 (3,) each."""
    lab = _lab(image).reshape(-1, 3)
    return lab.mean(0), lab.std(0)


def recoloured(image: np.ndarray, look: Statistics) -> np.ndarray:
    """An image with the mean and deviation of its CIELAB axes as another's (Reinhard et al. 2001, who take
    l-alpha-beta).

    Args:
        image (ndarray): RGB, uint8 (H, W, 3).
        look (tuple[ndarray, ndarray]): See :func:`statistics_of`.

    Returns:
        ndarray: Of the same kind.
    """
    mean, deviation = statistics_of(image)
    lab = (_lab(image) - mean) * (look[1] / np.maximum(deviation, _LEAST)) + look[0]
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return (rgb * 255).round().clip(0, 255).astype(np.uint8)


def _lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


class Looks:
    """Draws the look of one of many unlabelled pictures, such as those of another hour or season.

    Args:
        images (str): A folder, searched recursively, or a glob.
        name (str): Of the option, for what it says about bad ones.

    Raises:
        ValueError: ``images`` is no text.
        FileNotFoundError: There are none.
    """

    def __init__(self, images: str, name: str = 'images') -> None:
        if not isinstance(images, str):
            raise UserError(f'{name} = {images!r} must be a folder of pictures, or a glob')
        self.name = name
        self.files = find_images(images, f'give {name} the folder of pictures whose look is wanted')
        self._statistics: Callable[[str], Statistics | None] = lru_cache(maxsize=None)(_statistics_in)

    def __call__(self, image: np.ndarray, draw: int) -> np.ndarray:
        """An image, uint8 RGB (H, W, 3), in the look of the picture that a number draws.

        A picture that cannot be read is named once, and the next one is taken.

        Raises:
            OSError: None of them can be read.
        """
        for further in range(len(self.files)):
            look = self._statistics(self.files[(draw + further) % len(self.files)])
            if look is not None:
                return recoloured(image, look)
        raise self._none()

    def check(self) -> None:
        """Whether one of the pictures can be read, before work that needs one.

        Raises:
            OSError: None of them can be read.
        """
        if not any(self._statistics(path) is not None for path in self.files):
            raise self._none()

    def _none(self) -> UnusableFileError:
        return UnusableFileError(f'none of the {len(self.files)} pictures of {self.name} can be read: give others')


def _statistics_in(path: str) -> Statistics | None:
    try:
        return statistics_of(load_image(path))
    except OSError as error:
        print_log(f'{path} has no look ({error}): the next picture is taken.', 'current', logging.WARNING)
        return None
