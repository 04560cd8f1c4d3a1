"""Several views of an image, whose predictions become one label."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.errors import UserError
from ..utils.image_values import size_of
from ..utils.models import backbone_of, shares_features
from ..utils.values import check_whole, is_number

__all__ = ['LabelViews']


class LabelViews:
    """Every scale with every draw of noise, as it is and mirrored.

    Args:
        flip (bool): The mirror image too. Default False.
        scales (Sequence[float]): Factors of the image's sides, 0.1 to 10. Default (1,).
        draws (int): Draws of the noise that a diffusion backbone adds (``noise=True``, ``sample_posterior=True``).
            Default 1.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(self, flip: bool = False, scales: Sequence[float] = (1,), draws: int = 1) -> None:
        if not isinstance(flip, bool):
            raise UserError(f'labelling.flip = {flip!r} must be True or False')
        listed = isinstance(scales, Sequence) and not isinstance(scales, str) and len(scales) > 0
        if not listed or not all(is_number(scale, 0.1, 10) for scale in scales):
            raise UserError(f'labelling.scales = {scales!r} must be a list of factors of 0.1 to 10, such as [0.75, 1]')
        check_whole('labelling.draws', draws)
        self.draws = draws
        self._views = list(product(scales, (False, True) if flip else (False,), range(draws)))

    @property
    def several(self) -> bool:
        """bool: Whether there is another view than the image as it is."""
        return self._views != [(1, False, 0)]

    def check_model(self, model: Any) -> None:
        """Whether a model's features differ from draw to draw.

        Raises:
            ValueError: They do not, so that the draws would be one and the same.
        """
        backbone = backbone_of(model)
        if self.draws > 1 and not (getattr(backbone, 'noise', False) or getattr(backbone, 'sample_posterior', False)):
            raise UserError(
                f'labelling.draws = {self.draws} averages over the noise of a diffusion backbone, and '
                f'{type(backbone).__name__} adds none: set backbone.noise=True, or leave draws out'
            )

    def average(self, model: Any, images: Tensor, probabilities: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Mean of the views, and how far they agree.

        The agreement is exp(-D), with D the mean Kullback-Leibler divergence of the views from their mean: 1 where all
        say the same, one over their number where each is sure of something else. Zheng & Yang 2021 (*Rectifying Pseudo
        Label Learning via Uncertainty Estimation*) weigh pixels so, by two heads.

        Args:
            model: Whose backbone may be serving features of ``images``, which the plain view takes.
            images (Tensor): Preprocessed, (N, 3, H, W).
            probabilities (Callable): Of every class, (N, C, h, w), from images (N, 3, h, w).

        Returns:
            tuple[Tensor, Tensor]: (N, C, H, W), and (N, H, W) in (0, 1].
        """
        total = entropy = images.new_zeros(())
        for scale, mirrored, draw in self._views:
            with _seen(model, images, scale, mirrored, draw) as seen:
                found = probabilities(seen)
            found = found.flip(-1) if mirrored else found
            if size_of(found) != size_of(images):
                found = F.interpolate(found, size_of(images), mode='bilinear')
            total, entropy = total + found, entropy + _entropy(found)
        mean = total / len(self._views)
        divergence = (_entropy(mean) - entropy / len(self._views)).clamp(0, math.log(len(self._views)))
        return mean, (-divergence).exp()


def _entropy(probabilities: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W)."""
    return torch.special.entr(probabilities).sum(1)


@contextmanager
def _seen(model: Any, images: Tensor, scale: float, mirrored: bool, draw: int) -> Iterator[Tensor]:
    """A view of images; within, the model's features are those of this view."""
    if (scale, mirrored, draw) == (1, False, 0):
        yield images
        return
    seen = images.flip(-1) if mirrored else images.clone()  # a model may know features of ``images`` by the tensor
    if scale != 1:
        size = [max(round(side * scale), 1) for side in size_of(images)]
        seen = F.interpolate(seen, size, mode='bilinear', antialias=True)
    backbone = backbone_of(model)
    with ExitStack() as stack:
        if draw:
            stack.enter_context(backbone.drawing(draw))
        if shares_features(model):
            stack.enter_context(backbone.serve(backbone.features(seen)))
        yield seen
