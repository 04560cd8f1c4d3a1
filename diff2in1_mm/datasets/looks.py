"""The look of other pictures: their light, colours and noise, given to an image that keeps everything else."""

import logging
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log

from ..utils.errors import UnusableFileError, UserError
from .image_folder import find_images
from .source_images import load_image

__all__ = ['Look', 'Looks', 'grained', 'recoloured']

_LEAST = 0.5  # deviation of a colour axis, of 100: a picture of one colour has none to be stretched
# Differences of differences, which smooth surfaces have none of.
_ROUGHNESS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


class Look(NamedTuple):
    """What an image takes of a picture.

    Attributes:
        mean (ndarray): Of its CIELAB axes, float32 (3,).
        deviation (ndarray): The same.
        noise (float): Deviation of its noise, of 255.
    """

    mean: np.ndarray
    deviation: np.ndarray
    noise: float


def look_of(image: np.ndarray) -> Look:
    """The look of a picture, RGB uint8 (H, W, 3)."""
    lab = _lab(image).reshape(-1, 3)
    return Look(lab.mean(0), lab.std(0), noise_of(image))


def noise_of(image: np.ndarray) -> float:
    """Deviation of an image's noise, of 255 (Immerkaer 1996, *Fast noise variance estimation*); fine textures count.

    Args:
        image (ndarray): uint8 (H, W, 3).
    """
    rough = np.abs(cv2.filter2D(image.astype(np.float32), -1, _ROUGHNESS)).mean()
    return float(np.sqrt(np.pi / 2) / 6 * rough)


def grained(image: np.ndarray, noise: float, draw: int) -> np.ndarray:
    """An image with as much noise as another: what it lacks is added, Gaussian and of each pixel's own.

    Args:
        image (ndarray): RGB, uint8 (H, W, 3).
        noise (float): See :func:`noise_of`; an image that has more stays as it is.
        draw (int): Seed of the noise.

    Returns:
        ndarray: Of the same kind.
    """
    lacking = max(noise**2 - noise_of(image) ** 2, 0.0) ** 0.5
    added = lacking * np.random.default_rng(draw).standard_normal(image.shape, np.float32)
    return (image + added).round().clip(0, 255).astype(np.uint8)


def recoloured(image: np.ndarray, look: Look) -> np.ndarray:
    """An image with the mean and deviation of its CIELAB axes as another's (Reinhard et al. 2001, who take
    l-alpha-beta).

    Args:
        image (ndarray): RGB, uint8 (H, W, 3).
        look (Look): Of the other.

    Returns:
        ndarray: Of the same kind.
    """
    lab = _lab(image)
    mean, deviation = lab.mean((0, 1)), lab.std((0, 1))
    lab = (lab - mean) * (look.deviation / np.maximum(deviation, _LEAST)) + look.mean
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
        self._seen: dict[str, Look | None] = {}  # a plain dict, which spawned workers can be handed

    def __call__(self, image: np.ndarray, draw: int, grain: bool = False) -> np.ndarray:
        """An image in the look of the picture that a number draws (:meth:`drawn`).

        Args:
            image (ndarray): RGB, uint8 (H, W, 3).
            draw (int): A seed.
            grain (bool): Whether it gets the picture's noise, too. Default False.

        Returns:
            ndarray: Of the same kind.

        Raises:
            OSError: None of them can be read.
        """
        look = self.drawn(draw)
        coloured = recoloured(image, look)
        return grained(coloured, look.noise, draw) if grain else coloured

    def drawn(self, draw: int) -> Look:
        """The look of the picture that a number draws.

        A picture that cannot be read is named once, and the next one is taken.

        Args:
            draw (int): A seed.

        Raises:
            OSError: None of them can be read.
        """
        for further in range(len(self.files)):
            look = self._look(self.files[(draw + further) % len(self.files)])
            if look is not None:
                return look
        raise self._none()

    def _look(self, path: str) -> Look | None:
        if path not in self._seen:
            self._seen[path] = _look_in(path)
        return self._seen[path]

    def check(self) -> None:
        """Whether one of the pictures can be read, before work that needs one.

        Raises:
            OSError: None of them can be read.
        """
        if not any(self._look(path) is not None for path in self.files):
            raise self._none()

    def _none(self) -> UnusableFileError:
        return UnusableFileError(f'none of the {len(self.files)} pictures of {self.name} can be read: give others')


def _look_in(path: str) -> Look | None:
    try:
        return look_of(load_image(path))
    except OSError as error:
        print_log(f'{path} has no look ({error}): the next picture is taken.', 'current', logging.WARNING)
        return None
