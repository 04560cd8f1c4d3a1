"""Images of any size: padding to the model's stride, and cropping back."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


def latent_stride(vae: Mapping) -> int:
    """Image pixels per latent element of an autoencoder, by its config: each block but one halves the sides.

    Deep-compression autoencoders (Sana's) and those of videos (Qwen-Image's) list their blocks under other names.
    """
    if 'temperal_downsample' in vae:
        return 2 ** len(vae['temperal_downsample'])
    return 2 ** (len(vae.get('block_out_channels') or vae['encoder_block_out_channels']) - 1)


def image_stride(vae: Mapping, unet: Mapping) -> int:
    """What image sides must be divisible by for an autoencoder and a U-Net on its latents, by their configs."""
    return latent_stride(vae) * 2 ** (len(unet['block_out_channels']) - 1)


def pad_to_stride(images: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``stride``.

    Args:
        images (Tensor): Shape (N, C, H, W).
        stride (int): What height and width must be divisible by.

    Returns:
        Tensor: Shape (N, C, ceil(H / stride) * stride, ceil(W / stride) * stride); the input itself
        where nothing is to be padded.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % stride, -width % stride
    if not (bottom or right):
        return images
    return F.pad(images, (0, right, 0, bottom), mode='replicate')


def crop_to_stride(maps: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    """Cut a map of a padded image back to the part that the image covers.

    Args:
        maps (Tensor): Shape (N, C, h, w), one value per ``stride`` pixels of the padded image.
        size (tuple[int, int]): Height and width of the image before padding, in pixels.
        stride (float): Pixels per map element.

    Returns:
        Tensor: Shape (N, C, ceil(H / stride), ceil(W / stride)), a view.
    """
    height, width = (math.ceil(side / stride) for side in size)
    return maps[..., :height, :width]
