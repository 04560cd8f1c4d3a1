"""A stronger view for theta_E of a synthetic sample than the one that theta_C labelled.

All random numbers come from generators that the caller seeds by (seed, iteration, sample), so a
resumed run, or another number of processes, sees the same views.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ['pixel_statistics', 'strong_view']

# luma of ITU-R BT.601, which OpenCV and PIL use too
_LUMA = (0.299, 0.587, 0.114)


def pixel_statistics(data_preprocessor: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (3, 1, 1) by which a data preprocessor normalised, in pixel values."""
    mean = getattr(data_preprocessor, 'mean', None)
    std = getattr(data_preprocessor, 'std', None)
    if mean is None or std is None:
        return images.new_zeros(3, 1, 1), images.new_ones(3, 1, 1)
    return mean.view(-1, 1, 1).to(images), std.view(-1, 1, 1).to(images)


def strong_view(images: Tensor, mean: Tensor, std: Tensor, generators: Sequence[Generator]) -> Tensor:
    """A photometric view: brightness, contrast, saturation, grey (p = 0.2), blur (p = 0.5).

    Nothing moves, so labels made on the plain view stay right.

    Args:
        images (Tensor): Normalised RGB (n, 3, H, W).
        mean, std (Tensor): (3, 1, 1), which lead back to pixel values in [0, 255].
        generators (Sequence[Generator]): One CPU generator per image.

    Returns:
        Tensor: New images (n, 3, H, W), normalised again.
    """
    draws = torch.stack([torch.rand(6, generator=g) for g in generators])
    draws = draws.to(images, non_blocking=True)[..., None, None, None]  # (n, 6, 1, 1, 1)
    brightness, contrast, saturation = (0.6 + 0.8 * draws[:, k] for k in range(3))
    saturation = torch.where(draws[:, 3] < 0.2, 0.0, saturation)  # grey
    x = (images * std + mean) / 255
    x = (x * brightness).clamp(0, 1)
    x = torch.lerp(_grey(x).mean(dim=(2, 3), keepdim=True), x, contrast).clamp(0, 1)
    x = torch.lerp(_grey(x).expand_as(x), x, saturation).clamp(0, 1)
    # a deviation near zero leaves the image as it is
    sigma = torch.where(draws[:, 4] < 0.5, 0.1 + 1.9 * draws[:, 5], 1e-2)
    return (_blur(x, sigma.flatten()) * 255 - mean) / std


def _grey(images: Tensor) -> Tensor:
    """(n, 3, H, W) -> (n, 1, H, W)."""
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def _blur(images: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    """Gaussian blur, each image with its own deviation (n,) in pixels; (n, 3, H, W)."""
    n, _, height, width = images.shape
    steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.softmax(-0.5 * (steps / sigma[:, None]) ** 2, dim=1)  # (n, 2 radius + 1)
    kernel = kernel.repeat_interleave(3, dim=0)[:, None]
    x = images.reshape(1, n * 3, height, width)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), 'replicate'), kernel[:, :, None], groups=n * 3)
    x = F.conv2d(F.pad(x, (0, 0, radius, radius), 'replicate'), kernel[..., None], groups=n * 3)
    return x.view_as(images)
