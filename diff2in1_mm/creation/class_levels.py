"""Noise by class: how far each pixel of an image is noised, and what holds the others where they are."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.contract import DiffusionModel
from ..diffusion.padding import pad_to_stride
from ..tasks.base import Labeller
from ..utils.errors import UserError, did_you_mean
from ..utils.image_values import size_of
from ..utils.values import is_whole

__all__ = ['SEAMS', 'ClassLevels', 'Restoration', 'level_painter']

#: The level of the borders of pasted things, beside 'default' and classes.
SEAMS = 'seams'

_MOST = 10**4  # levels of any schedule


class ClassLevels:
    """Levels of noise by class name, as ``T=dict(default=600, person=0, car=100)`` says them.

    Args:
        levels (Mapping[str, int]): Class name -> level; 'default' is that of all other pixels, and of ignored ones.
            0: these pixels stay as they are. 'seams' is that of pixels along the outlines of things which
            ``creation.compose`` pasted, whatever their class.
        margin (int): Pixels by which what has the lower level is grown. Default 0.

    Attributes:
        default (int): The level of 'default'.
        start (int): The highest, at which denoising starts.

    Raises:
        ValueError: No 'default', or something else than whole numbers.
    """

    def __init__(self, levels: Mapping[str, int], margin: int = 0) -> None:
        self.levels, self.margin = dict(levels), margin
        if 'default' not in levels:
            raise UserError(f"T = {self.levels!r} has no 'default', the level of all classes that it does not name")
        if not all(is_whole(level, 0) and level < _MOST for level in levels.values()):
            raise UserError(f'T = {self.levels!r} must give whole numbers, the levels of noise (0: nothing changes)')
        if not is_whole(margin, 0):
            raise UserError(f'T_margin = {margin!r} must be a whole number of pixels')
        self.default, self.start = levels['default'], max(levels.values())

    def table(self, classes: Sequence[str] | None) -> np.ndarray:
        """Level of each class of a data set, uint16.

        Raises:
            ValueError: A name is no class.
        """
        names = list(classes or ())
        for name in self.levels:
            if name not in ('default', SEAMS) and name not in names:
                raise UserError(
                    f'creation.T names {name!r}, which is no class of the data set' + did_you_mean(name, names)
                )
        return np.array([self.levels.get(name, self.default) for name in names], np.uint16)

    def paint(
        self, labeller: Labeller, table: np.ndarray, entry: Mapping[str, Any], size: tuple[int, int]
    ) -> np.ndarray:
        """Level of each pixel of a source image.

        Args:
            labeller (Labeller): Knows how its labels say where classes are.
            table (ndarray): Of :meth:`table`.
            entry (Mapping): The image's annotation entry.
            size (tuple[int, int]): Height and width in which it is varied.

        Returns:
            ndarray: uint16 (H, W).
        """
        painted = labeller.source_levels(entry, size, table, self.default)
        if self.margin:
            painted = cv2.erode(painted, np.ones((2 * self.margin + 1,) * 2, np.uint8), borderType=cv2.BORDER_REPLICATE)
        if SEAMS in self.levels and SEAMS in entry:
            painted = np.where(entry[SEAMS], self.levels[SEAMS], painted).astype(painted.dtype)
        return painted


def level_painter(generator: Any, labels: Any, dataset: Any) -> Callable[..., np.ndarray] | None:
    """What gives the levels of an image's pixels, from its annotation entry and its size (height, width).

    Args:
        generator (PartialNoiseGenerator): Has levels by class, or one for all: None is given then.
        labels (BatchLabels): Whose task says where classes are.
        dataset: Of the source images.

    Raises:
        ValueError: A name is no class of the data set, its labels do not say where classes are, or a generator of
            one's own does not take levels.
    """
    levels = getattr(generator, 'by_class', None)
    if levels is None:
        return None
    if 'levels' not in inspect.signature(generator.generate).parameters:
        kind = type(generator).__name__
        raise UserError(f'creation.T names classes, but {kind}.generate takes no `levels`: give one level')
    for labeller in labels.labeller.labellers.values():
        if hasattr(labeller, 'source_levels'):
            return partial(levels.paint, labeller, levels.table(dataset.metainfo.get('classes')))
    raise UserError(
        f'creation.T names classes, but {labels.labeller.task} labels do not say where these are: give one level'
    )


class Restoration:
    """Puts back what is above its own level of noise, after each step of a denoising.

    A cell is free from the first step on that is not above its level; until then it is the clean latent, noised to the
    level at hand with the noise of the start (Differential Diffusion, Levin & Fried 2023; RePaint, Lugmayr et al.
    2022).

    Args:
        diffusion (DiffusionModel): What adds noise.
        clean (Tensor): Latents of the images, (N, c, h, w).
        noise (Tensor): Of the start, same shape.
        levels (Tensor): Of the pixels, in the model's own levels, (N, H, W). A cell takes the lowest of its pixels.
    """

    def __init__(self, diffusion: DiffusionModel, clean: Tensor, noise: Tensor, levels: Tensor) -> None:
        self._diffusion, self._clean, self._noise = diffusion, clean, noise
        padded = pad_to_stride(levels[:, None].float(), diffusion.stride)
        self._levels = -F.adaptive_max_pool2d(-padded, size_of(clean))

    def __call__(self, latents: Tensor, timestep: int, following: int) -> Tensor:
        """Latents after the step from level ``timestep`` to ``following`` (0: the last one)."""
        original = self._diffusion.add_noise(self._clean, self._noise, following) if following else self._clean
        return torch.where(self._levels < timestep, original, latents)
