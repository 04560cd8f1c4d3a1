"""Values of images: the range that diffusion models take, and whether red and blue change places."""

import torch
from torch import Tensor, nn


def to_unit_range(images: Tensor) -> Tensor:
    """Pixels of any dtype and shape, in [0, 255], to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Inverse of :func:`to_unit_range`, cut to the range: floating images to uint8 of the same shape."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images or maps (..., H, W); MMSegmentation takes a ``torch.Size`` for something else."""
    return images.shape[-2], images.shape[-1]


def swaps_channels(data_preprocessor: nn.Module) -> bool:
    """Whether a data preprocessor turns BGR to RGB or back.

    Args:
        data_preprocessor (nn.Module): Of MMSegmentation, which says so in ``channel_conversion``,
            or of MMDetection or MMEngine (``_channel_conversion``).
    """
    return any(getattr(data_preprocessor, name, False) for name in ('channel_conversion', '_channel_conversion'))
