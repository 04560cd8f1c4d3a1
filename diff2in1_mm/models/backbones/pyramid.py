"""From the maps of a diffusion model to those that necks and heads expect: projected, resized, or a trained pyramid."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ...utils.errors import UserError


def output_layer(channels: int, out_channels: int | None, stride: int, out_stride: int) -> nn.Module:
    """What a map goes through: nothing, a 1x1 convolution, or :func:`pyramid_level` where the strides differ.

    Args:
        channels, stride, out_stride: As :func:`pyramid_level`.
        out_channels (int | None): Of the result. None: it is left as it is.
    """
    if out_channels is None:
        return nn.Identity()
    return (
        nn.Conv2d(channels, out_channels, 1)
        if stride == out_stride
        else pyramid_level(channels, out_channels, stride, out_stride)
    )


def fitted(feature: Tensor, size: tuple[int, int], layer: nn.Module | None) -> Tensor:
    """A map of an exact size: a level of a pyramid, which covers the last, broken element too, is cut, others resized.

    Args:
        feature (Tensor): Shape (N, C, h, w).
        size (tuple[int, int]): Wanted h and w.
        layer (nn.Module | None): The :func:`output_layer` that it comes from, if any.
    """
    if feature.shape[-2:] == size:
        return feature
    if isinstance(layer, nn.Sequential):
        return feature[..., : size[0], : size[1]]
    return F.interpolate(feature, size=size, mode='bilinear', align_corners=False)


def pyramid_level(channels: int, out_channels: int, stride: int, out_stride: int) -> nn.Sequential:
    """Layers that bring the map of a transformer to another stride, trained.

    As the simple feature pyramid of ViTDet has them (Li et al. 2022, sec. 3.1): deconvolutions of stride 2 towards
    finer strides, pooling towards coarser ones, then a 3x3 convolution. The 1x1 projection comes first here, since a
    token of a diffusion transformer has up to 3072 channels, and norms are over the whole map.

    Args:
        channels (int): Of the map.
        out_channels (int): Of the result.
        stride (int): Image pixels per element of the map.
        out_stride (int): The same of the result.

    Returns:
        nn.Sequential: From (N, channels, h, w) to (N, out_channels, h', w'), which covers at least the same pixels.

    Raises:
        ValueError: One stride is no power of two times the other.
    """
    steps = math.log2(stride / out_stride)
    if steps != round(steps):
        raise UserError(
            f'out_strides has {out_stride}, but a pyramid from maps of stride {stride} is made in steps of two: '
            f'take {stride // 4}, {stride // 2}, {stride}, {stride * 2}, ...'
        )
    layers: list[nn.Module] = [nn.Conv2d(channels, out_channels, 1), nn.GroupNorm(1, out_channels)]
    for _ in range(round(steps)):
        layers += [nn.GELU(), nn.ConvTranspose2d(out_channels, out_channels, 2, 2), nn.GroupNorm(1, out_channels)]
    layers += [nn.MaxPool2d(2, ceil_mode=True) for _ in range(-round(steps))]
    return nn.Sequential(*layers, nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.GroupNorm(1, out_channels))
