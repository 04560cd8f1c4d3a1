"""Ranges of images."""
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 images to [-1, 1].

    Args:
        images (Tensor): uint8, any shape.

    Returns:
        Tensor: float32 of the same shape.
    """
    return images.float() / 127.5 - 1
