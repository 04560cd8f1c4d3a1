"""The released Diff-2-in-1 code's way from 25 inner maps to an EfficientNet-like pyramid."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ...utils.errors import UserError
from .spectral_norm import SpectralConv2d


class MixBlock(BaseModule):
    """A residual block of two spectrally normalised 3x3 convolutions.

    In the reference an in-place ReLU rectifies the tensor that the shortcut reads as well, so the
    shortcut starts from the normalised, rectified input.

    Args:
        in_channels (int): Of the input.
        out_channels (int): Of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels, eps=1e-4, affine=False)
        self.conv1 = SpectralConv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels, eps=1e-4, affine=False)
        self.conv2 = SpectralConv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = SpectralConv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        x = self.norm1(x).relu()
        return self.conv2(self.norm2(self.conv1(x)).relu()) + self.shortcut(x)


@MODELS.register_module()
class DiffusionAggregator(BaseModule):
    """Neck from ``DiffusionBackbone(taps='all')`` to five maps, finest first.

    METHOD: "SNmodule" of the released code (ldm/models/sn_module.py), without its layers that are
    never used. Each of the three coarser groups is enlarged to the next finer one's size, every
    group goes through a bias-free 1x1 convolution, and from coarse to fine they are concatenated
    and mixed; two transposed convolutions add two finer maps. The 1x1 convolution comes before the
    resize, with which it commutes: a quarter of the work.

    Any input size: a map is resized to the size that is needed, not by a factor.

    Args:
        in_channels (Sequence[int]): Of the four groups, finest first; Stable Diffusion:
            ``(2560, 4160, 7040, 7680)``.
        out_channels (Sequence[int]): Of the five outputs, finest first. The defaults are those of
            EfficientNet-B5, which Bae et al. have. For an input with strides s, 2s, 4s, 8s they
            have strides s/4, s/2, s, 2s and 4s.

    Raises:
        ValueError: Not four groups, or not five outputs.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (2560, 4160, 7040, 7680),
        out_channels: Sequence[int] = (24, 40, 64, 176, 2048),
    ) -> None:
        super().__init__()
        if len(in_channels) != 4 or len(out_channels) != 5:
            raise UserError(
                'DiffusionAggregator makes five maps of four groups (taps="all" of a U-Net with four resolutions), not '
                f'{len(out_channels)} of {len(in_channels)}'
            )
        highest, high, mid, low = in_channels
        half, quarter, eighth, sixteenth, coarsest = out_channels
        self.low = nn.Conv2d(low, coarsest, 1, bias=False)
        self.mid = nn.Conv2d(mid, sixteenth, 1, bias=False)
        self.high = nn.Conv2d(high, eighth, 1, bias=False)
        self.highest = nn.Conv2d(highest, eighth, 1, bias=False)
        self.mix_mid = MixBlock(coarsest + sixteenth, sixteenth)
        self.mix_high = MixBlock(sixteenth + eighth, eighth)
        self.mix_highest = MixBlock(2 * eighth, eighth)
        self.norm_up0 = nn.BatchNorm2d(eighth)
        self.up1 = nn.ConvTranspose2d(eighth, quarter, 2, stride=2)
        self.norm_up1 = nn.BatchNorm2d(quarter)
        self.up2 = nn.ConvTranspose2d(eighth + quarter, half, 2, stride=2)
        self.norm_up2 = nn.BatchNorm2d(half)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Aggregate.

        Args:
            inputs (Sequence[Tensor]): Four maps (N, c, h, w), finest first.

        Returns:
            tuple[Tensor, ...]: Five maps, finest first; all but the first are what the reference
            returns after its in-place operations (the second one is rectified).
        """
        highest, high, mid, low = inputs
        low = _resize(self.low(low), mid)
        mid = self.mix_mid(torch.cat([_resize(low, high), _resize(self.mid(mid), high)], 1))
        high = self.mix_high(torch.cat([_resize(mid, highest), _resize(self.high(high), highest)], 1))
        highest = self.mix_highest(torch.cat([high, self.highest(highest)], 1))
        rectified = self.norm_up0(highest).relu()
        quarter = self.norm_up1(self.up1(rectified)).relu()
        half = self.norm_up2(self.up2(torch.cat([quarter, _resize(rectified, quarter)], 1)))
        return half, quarter, high, mid, low


def _resize(x: Tensor, like: Tensor) -> Tensor:
    """(N, c, h, w) bilinearly to the size of another map."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode='bilinear', align_corners=False)
