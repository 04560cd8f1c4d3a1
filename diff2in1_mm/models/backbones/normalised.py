"""From images as a data preprocessor gives them to the range of diffusion models, and back."""

import logging
import math
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.image_values import swaps_channels

# MMDetection's PhotoMetricDistortion cuts nothing off and reaches -1.4 and 2.4; images normalised
# otherwise than the backbone knows are further off: ImageNet's mean and std give -2.1 and 2.6.
_LOWEST, _HIGHEST = -1.5, 2.5


class Normalised(BaseModule):
    """A backbone that knows how its images were normalised.

    Args:
        input_mean (Sequence[float] | float): ``mean`` of the data preprocessor.
        input_std (Sequence[float] | float): ``std`` of the data preprocessor.
        input_bgr (bool): The data preprocessor leaves the images BGR.
        init_cfg (dict | None): As MMEngine's modules take it.
    """

    def __init__(
        self,
        input_mean: float | Sequence[float],
        input_std: float | Sequence[float],
        input_bgr: bool,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.input_bgr = input_bgr
        for name, value in (('input_mean', input_mean), ('input_std', input_std)):
            buffer = torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def to_unit_range(self, images: Tensor) -> Tensor:
        """Undo the data preprocessor's normalisation.

        Args:
            images (Tensor): Normalised, shape (N, 3, H, W).

        Returns:
            Tensor: RGB in [-1, 1], same shape.
        """
        # In this order nothing is rounded where the images are in [-1, 1] already.
        pixels = images * (self.input_std / 127.5) + (self.input_mean / 127.5 - 1)
        return pixels.flip(1) if self.input_bgr else pixels

    def from_unit_range(self, pixels: Tensor) -> Tensor:
        """Inverse of :meth:`to_unit_range`: normalise as the data preprocessor does.

        Args:
            pixels (Tensor): RGB in [-1, 1], shape (N, 3, H, W).

        Returns:
            Tensor: Normalised images, same shape.
        """
        pixels = pixels.flip(1) if self.input_bgr else pixels
        return (pixels - (self.input_mean / 127.5 - 1)) / (self.input_std / 127.5)

    def check_normalisation(self, data_preprocessor: nn.Module) -> None:
        """Compare ``input_mean`` and ``input_std`` with what the data preprocessor does.

        A channel order that does not fit ``input_bgr`` is only warned of.

        Args:
            data_preprocessor (nn.Module): Of the model.

        Raises:
            ValueError: They differ, so that images would not reach the diffusion model in [-1, 1].
        """

        def three(values: Tensor | None, missing: float) -> Tensor:
            values = torch.tensor(missing) if values is None else values.cpu().float()
            return values.reshape(-1).expand(3)

        theirs = (
            three(getattr(data_preprocessor, 'mean', None), 0.0),
            three(getattr(data_preprocessor, 'std', None), 1.0),
        )
        ours = three(self.input_mean, 0.0), three(self.input_std, 1.0)
        if not all(torch.allclose(a, b, atol=0.01) for a, b in zip(ours, theirs)):
            raise UserError(
                f'the data preprocessor normalises with mean {theirs[0].tolist()} and std {theirs[1].tolist()}, but '
                f'backbone.input_mean is {ours[0].tolist()} and backbone.input_std {ours[1].tolist()}: set them to the '
                'same values, so that images reach the diffusion model in [-1, 1]'
            )
        _check_channel_order(data_preprocessor, self.input_bgr)


def check_range(pixels: Tensor) -> None:
    """Look at images that are to be RGB in [-1, 1].

    Raises:
        ValueError: They are far outside, or no numbers.
    """
    low, high = (float(value) for value in pixels.aminmax())
    if low < _LOWEST or high > _HIGHEST:
        raise UserError(
            f'images reach the diffusion model in [{low:.2f}, {high:.2f}] instead of [-1, 1]: '
            'set backbone.input_mean and backbone.input_std to the mean and std of the data preprocessor'
        )
    if math.isnan(low):
        raise UserError('images reach the diffusion model as values that are not numbers: check the data pipeline')


def _check_channel_order(data_preprocessor: nn.Module, input_bgr: bool) -> None:
    """Log a warning if red and blue come to the diffusion model in each other's place.

    Only MMCV's own loading, which gives BGR, is thought of: a loader that gives RGB makes the
    warning void.

    Args:
        data_preprocessor (nn.Module): Of the model.
        input_bgr (bool): Of the backbone.
    """
    swaps = swaps_channels(data_preprocessor)
    if swaps == input_bgr:
        print_log(
            f'The data preprocessor has bgr_to_rgb={swaps} and the backbone input_bgr={input_bgr}: unless your images '
            f'are loaded as RGB, the diffusion model sees red and blue exchanged; set backbone.input_bgr={not swaps}.',
            'current',
            level=logging.WARNING,
        )
