"""Pictures of what a diffusion model sees in an image."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ['components', 'feature_pictures']


def components(feature: Tensor) -> np.ndarray:
    """The three strongest principal components of a map as a picture.

    Args:
        feature (Tensor): Shape (C, h, w), at least 3 channels.

    Returns:
        np.ndarray: uint8 (h, w, 3); each colour from the 1st to the 99th percentile of its component.
    """
    pixels = feature.flatten(1).T.double()
    _, _, axes = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    found = ((pixels - pixels.mean(0)) @ axes[:3].T).numpy()
    found = np.pad(found, ((0, 0), (0, 3 - found.shape[1])))  # fewer pixels than colours
    low, high = np.percentile(found, (1, 99), axis=0)
    colours = ((found - low) / np.maximum(high - low, 1e-12) * 255).clip(0, 255).round().astype(np.uint8)
    return colours.reshape(*feature.shape[1:], 3)


def feature_pictures(backbone: Any, image: np.ndarray) -> list[np.ndarray]:
    """The components of an image's features.

    Args:
        backbone (DiffusionBackbone): In eval mode.
        image (np.ndarray): uint8 (H, W, 3), RGB.

    Returns:
        list[np.ndarray]: uint8 (h, w, 3), one for each of ``backbone.tap_strides``.
    """
    pixels = torch.from_numpy(image).to(backbone.diffusion.device).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        maps = backbone.features(pixels / 127.5 - 1)
    return [components(feature[0].float().cpu()) for feature in maps]
