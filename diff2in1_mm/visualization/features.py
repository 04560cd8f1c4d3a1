"""Pictures of what a diffusion model sees in an image."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..diffusion.attention_maps import mean_attention
from ..diffusion.conditions.class_names import ClassNames
from ..diffusion.contract import DiffusionModel

__all__ = ['attention_pictures', 'components', 'feature_pictures']


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
    pixels = torch.from_numpy(image).to(backbone.input_mean.device).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        maps = backbone.features(pixels / 127.5 - 1)
    return [components(feature[0].float().cpu()) for feature in maps]


def attention_pictures(model: DiffusionModel, image: np.ndarray, words: Sequence[str]) -> list[np.ndarray]:
    """Where a U-Net looks for each of some words, told all of them: cross-attention at its finest stride.

    Args:
        model (DiffusionModel): One with :meth:`DiffusionModel.attention_layers` that :class:`ClassNames` fits.
        image (np.ndarray): uint8 (H, W, 3), RGB.
        words (Sequence[str]): Two or more: with a single one all attention is its own.

    Returns:
        list[np.ndarray]: uint8 (H, W, 3), one for each word: the image where the word is looked for, dark elsewhere.
    """
    stride, layers = min(model.attention_layers().items())
    told = ClassNames(classes=words).embed(model.text).to(model.device, model.dtype)
    pixels = torch.from_numpy(image).to(model.device).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        latents = model.encode(pixels / 127.5 - 1)
        maps = model.predict(latents, 1, told, layers)[1]
    height, width = (-(-side // model.stride) * model.stride for side in image.shape[:2])  # as it was padded
    (found,) = mean_attention(maps, layers, (height // stride, width // stride)).float().cpu().numpy()
    pictures = []
    for attention in found:
        low, high = np.percentile(attention, (5, 99))
        shown = ((attention - low) / max(high - low, 1e-12)).clip(0, 1)
        shown = cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)[: image.shape[0], : image.shape[1]]
        pictures.append((image * (0.15 + 0.85 * shown[..., None])).round().astype(np.uint8))
    return pictures
