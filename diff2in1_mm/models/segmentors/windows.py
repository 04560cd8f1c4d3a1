"""Windows of large images in few passes: the same maps as from one pass for each."""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ...utils.errors import UserError
from ...utils.image_values import size_of
from ...utils.values import check_whole, is_whole
from ..backbones.normalised import Normalised

__all__ = [
    'batch_windows',
    'check_window_batch',
    'check_windows',
    'decode',
    'overlaid',
    'window_corners',
    'windows_at_once',
]

#: Windows in one pass where a config names no number: what a training batch of as many crops takes, without gradients.
_WINDOW_BATCH = 8


def batch_windows(model: Any) -> bool:
    """Has a stock segmentor of MMSegmentation run its windows of ``mode='slide'`` in batches.

    ``test_cfg.window_batch`` (default 8) says how many in one pass; the maps are those of its own loop. Left alone are
    models that have no frozen diffusion model as a backbone, and those with windows of their own, such as
    :class:`DenseEstimator`.

    Args:
        model: Changed in place; a second call changes nothing more.

    Returns:
        bool: Whether it was one of those.
    """
    while hasattr(model, 'module'):  # wrapped for a distributed run, or for test-time augmentation
        model = model.module
    own = getattr(type(model), 'slide_inference', None)
    if own is not EncoderDecoder.slide_inference or not isinstance(model.backbone, Normalised):
        return False
    model.slide_inference = MethodType(_slide, model)
    return True


def _slide(model: Any, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
    """In place of ``EncoderDecoder.slide_inference``: scores (N, C, H, W) of preprocessed images (N, 3, H, W)."""
    test_cfg, size = model.test_cfg, size_of(inputs)
    check_windows(test_cfg)
    check_window_batch(test_cfg)
    crop = min(test_cfg['crop_size'][0], size[0]), min(test_cfg['crop_size'][1], size[1])
    corners = window_corners(size, crop, test_cfg['stride'])
    crops = [inputs[..., y : y + crop[0], x : x + crop[1]] for y, x in corners]
    return overlaid(decode(model, crops, windows_at_once(test_cfg, len(inputs))), corners, size)


def check_windows(test_cfg: Any) -> None:
    """Refuses windows that do not cover an image.

    Raises:
        ValueError: Window or stride are missing or no two whole numbers, or a stride is larger than the window.
    """
    for name in ('crop_size', 'stride'):
        value = test_cfg.get(name)
        if not (isinstance(value, (list, tuple)) and len(value) == 2 and all(is_whole(side, 1) for side in value)):
            found = f'test_cfg.{name} = {value!r}' if name in test_cfg else f'test_cfg.{name} is missing'
            raise UserError(
                f"{found}: mode='slide' takes two whole numbers of at least 1, height and width in pixels; set them, "
                "or take mode='whole'"
            )
    if any(step > side for step, side in zip(test_cfg['stride'], test_cfg['crop_size'])):
        raise UserError(
            f'test_cfg.stride = {test_cfg["stride"]} leaves gaps between windows of crop_size = '
            f'{test_cfg["crop_size"]}: take a smaller stride'
        )


def check_window_batch(test_cfg: Any) -> None:
    """Raises ValueError unless ``window_batch``, where it is named, is a whole number of at least 1."""
    if test_cfg.get('window_batch') is not None:
        check_whole('test_cfg.window_batch', test_cfg['window_batch'])


def windows_at_once(test_cfg: Any, images: int) -> int:
    """Windows in one pass, each of so many images: ``window_batch`` counts those of all images."""
    return max(1, (test_cfg.get('window_batch') or _WINDOW_BATCH) // images)


def window_corners(size: Sequence[int], crop: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Upper left corners (y, x) of windows that cover an image, the last ones at its border."""

    def along(length: int, window: int, step: int) -> list[int]:
        return [*range(0, length - window, step), length - window]

    return [(y, x) for y in along(size[0], crop[0], stride[0]) for x in along(size[1], crop[1], stride[1])]


def decode(model: Any, crops: Sequence[Tensor], at_once: int) -> list[Tensor]:
    """What a segmentor gives for windows.

    Args:
        model: With MMSegmentation's ``encode_decode``.
        crops (Sequence[Tensor]): A window each, cut out of N images: (N, 3, h, w), all of one size.
        at_once (int): Windows in one pass.

    Returns:
        list[Tensor]: Maps (N, C, h, w) of each window.
    """
    images, crop = len(crops[0]), size_of(crops[0])
    meta = dict(img_shape=crop, pad_shape=crop, ori_shape=crop, flip=False, padding_size=(0, 0, 0, 0))
    found: list[Tensor] = []
    for first in range(0, len(crops), at_once):
        part = torch.cat(list(crops[first : first + at_once]))
        found.extend(model.encode_decode(part, [meta] * len(part)).split(images))
    return found


def overlaid(found: Sequence[Tensor], corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """Maps (N, C, H, W) of whole images from those of windows, averaged where these overlap.

    Args:
        found (Sequence[Tensor]): (N, C, h, w) of each window.
        corners (Sequence[tuple[int, int]]): Of :func:`window_corners`, which leave no gaps.
        size (tuple[int, int]): H and W.
    """
    height, width = size_of(found[0])
    # sums of half precision would lose what windows agree on
    total = torch.zeros((*found[0].shape[:2], *size), dtype=torch.float32, device=found[0].device)
    count = total.new_zeros((1, 1, *size))
    for (y, x), maps in zip(corners, found):
        total[..., y : y + height, x : x + width] += maps
        count[..., y : y + height, x : x + width] += 1
    return total / count
