"""The decoder of Bae, Budvytis and Cipolla (ICCV 2021): four scales, refined per pixel."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ...utils.image_values import size_of
from .point_sampling import read_points, sample_points, to_coordinates

_MIN_KAPPA = 0.01


def normalise(raw: Tensor) -> Tensor:
    """Raw values (N, 4, ...) as unit normal and ``kappa = elu(x) + 1 + 0.01``."""
    vector, kappa = raw[:, :3], raw[:, 3:]
    length = vector.square().sum(1, keepdim=True).sqrt() + 1e-10
    return torch.cat([vector / length, F.elu(kappa) + 1 + _MIN_KAPPA], dim=1)


def _enlarge(x: Tensor, size=None) -> Tensor:
    """Bilinear with aligned corners: to a size, or to twice the present one."""
    size = size or (2 * x.shape[-2], 2 * x.shape[-1])
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


class StandardisedConv2d(nn.Conv2d):
    """A convolution with zero-mean, unit-variance filters (weight standardisation)."""

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``."""
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        std = weight.flatten(1).std(dim=1).view(-1, 1, 1, 1) + 1e-10
        return self._conv_forward(x, weight / std, self.bias)


class UpBlock(BaseModule):
    """Enlarges a map to a finer one, joins them, and convolves twice."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        layers = []
        for channels in (in_channels, out_channels):
            layers += [
                StandardisedConv2d(channels, out_channels, 3, padding=1),
                nn.GroupNorm(8, out_channels),
                nn.LeakyReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, a, h, w) and (N, b, H, W), a + b = in_channels -> (N, out_channels, H, W)."""
        return self.layers(torch.cat([_enlarge(coarse, fine.shape[-2:]), fine], dim=1))


class Refinement(NamedTuple):
    """A prediction at one scale.

    Attributes:
        maps: Normal and kappa, (N, 4, H, W).
        points: The same at the sampled pixels, (N, 4, P); None where all are predicted.
        coordinates: Where these are, (N, 1, P, 2); None as above.
    """

    maps: Tensor
    points: Tensor | None = None
    coordinates: Tensor | None = None


class NormalDecoder(BaseModule):
    """Predicts normals at 1/8, 1/4, 1/2 and full resolution of a five-level pyramid.

    Args:
        in_channels (Sequence[int]): Of the pyramid, finest first. Default: EfficientNet-B5's.
        channels (int): Width of the coarsest level. Default 2048.
        sampling_ratio (float): Share of pixels that a refinement is trained on. Default 0.4.
        importance_ratio (float): Share of these that are the least certain. Default 0.7.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (24, 40, 64, 176, 2048),
        channels: int = 2048,
        sampling_ratio: float = 0.4,
        importance_ratio: float = 0.7,
    ) -> None:
        super().__init__()
        self.sampling_ratio, self.importance_ratio = sampling_ratio, importance_ratio
        *finer, coarsest = in_channels
        self.bottleneck = nn.Conv2d(coarsest, channels, 1)
        widths = [channels // 2**k for k in range(1, 5)]
        self.ups = nn.ModuleList(
            UpBlock(before + skip, width) for before, skip, width in zip([channels, *widths], reversed(finer), widths)
        )
        self.coarse = nn.Conv2d(widths[1], 4, 3, padding=1)
        self.refine = nn.ModuleList(_point_mlp(width + 4) for width in widths[1:])

    def forward(self, inputs: Sequence[Tensor], sampled: bool = False, mask: Tensor | None = None) -> list[Refinement]:
        """Predict.

        Args:
            inputs (Sequence[Tensor]): Five maps, finest first; each twice as large as the next.
            sampled (bool): Refine only sampled pixels, for training. Default False.
            mask (Tensor | None): Where there is ground truth, bool (N, 1, H, W), for sampling.

        Returns:
            list[Refinement]: Coarse to fine; the finest is twice as large as the finest input.
        """
        *finer, x = inputs
        x = self.bottleneck(x)
        features = []
        for up, skip in zip(self.ups, reversed(finer)):
            x = up(x, skip)
            features.append(x)
        results = [Refinement(normalise(self.coarse(features[1])))]
        for mlp, feature in zip(self.refine, features[1:]):
            step = self._refine_points if sampled else self._refine_all
            results.append(step(mlp, feature, results[-1].maps, mask))
        return results

    def _refine_all(self, mlp: nn.Module, feature: Tensor, before: Tensor, mask: Tensor | None) -> Refinement:
        joined = torch.cat([_enlarge(feature), _enlarge(before)], dim=1)
        return Refinement(normalise(mlp(joined.flatten(2))).view(-1, 4, *joined.shape[-2:]))

    def _refine_points(self, mlp: nn.Module, feature: Tensor, before: Tensor, mask: Tensor | None) -> Refinement:
        """The enlarged prediction, overwritten where pixels are sampled."""
        maps = _enlarge(before)
        size = size_of(maps)
        points = sample_points(maps[:, 3].detach(), mask, self.sampling_ratio, self.importance_ratio)
        where = to_coordinates(points, size)
        joined = torch.cat([read_points(feature, where), read_points(before, where)], dim=1)
        refined = normalise(mlp(joined))
        index = points[:, None].expand(-1, 4, -1)
        maps = maps.flatten(2).scatter(2, index, refined.to(maps.dtype)).view(-1, 4, *size)
        return Refinement(maps, refined, where)


def _point_mlp(in_channels: int, width: int = 128) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(in_channels, width, 1),
        nn.ReLU(),
        nn.Conv1d(width, width, 1),
        nn.ReLU(),
        nn.Conv1d(width, width, 1),
        nn.ReLU(),
        nn.Conv1d(width, 4, 1),
    )
