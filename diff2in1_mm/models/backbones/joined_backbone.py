"""A frozen diffusion model's features beside those of a backbone that is trained."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from ...utils.errors import UserError
from .diffusion_backbone import DiffusionBackbone

__all__ = ['JoinedBackbone']


@MODELS.register_module()
class JoinedBackbone(DiffusionBackbone):
    """:class:`DiffusionBackbone`, each map concatenated with a map of another backbone, which is trained.

    For data whose unlabelled pictures have trained the diffusion model and whose labels can train a small network of
    their own. The diffusion model still runs once per image; the other backbone makes a pass for each parameter set.

    Args:
        beside (dict): Config of a backbone that gives as many maps as this one, fine to coarse, from the same
            normalised images; resized to this one's maps where they differ.
        **options: Of :class:`DiffusionBackbone`.

    Raises:
        ValueError: ``beside`` gives another number of maps, or ``keep_padding`` is set, as the other does not pad.
    """

    def __init__(self, beside: dict, **options: Any) -> None:
        super().__init__(**options)
        if self.keep_padding:
            raise UserError(
                'JoinedBackbone(keep_padding=True) would lay maps of the padded image over those of the image: leave '
                'keep_padding out'
            )
        self.beside = MODELS.build(beside)
        channels = _channels(self.beside)
        if len(channels) != len(self.strides):
            raise UserError(
                f'JoinedBackbone.beside ({type(self.beside).__name__}) gives {len(channels)} maps and the diffusion '
                f'model {len(self.strides)}, of strides {self.strides}: choose its out_indices, or out_strides'
            )
        self.out_channels = tuple(own + other for own, other in zip(self.out_channels, channels))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of a batch.

        Args:
            images (Tensor): As :meth:`DiffusionBackbone.forward` takes them, shape (N, 3, H, W).

        Returns:
            tuple[Tensor]: Its maps, with the channels of the other backbone's behind its own.
        """
        pairs = zip(super().forward(images), self.beside(images))
        return tuple(torch.cat([own, _fitted(other, own)], 1) for own, other in pairs)


def _fitted(other: Tensor, own: Tensor) -> Tensor:
    """A map in the size and dtype of another."""
    if other.shape[-2:] != own.shape[-2:]:
        other = F.interpolate(other, own.shape[-2:], mode='bilinear', align_corners=False)
    return other.to(own.dtype)


@torch.no_grad()
def _channels(backbone: torch.nn.Module) -> list[int]:
    """Of each of its maps, by a pass that leaves statistics and random numbers alone."""
    training = backbone.training
    backbone.eval()  # of which MMSegmentation's ResNet returns None
    with torch.random.fork_rng(devices=[]):
        maps = backbone(torch.zeros(1, 3, 64, 64))
    backbone.train(training)
    return [feature.shape[1] for feature in maps]
