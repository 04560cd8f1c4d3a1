"""Checks and derived settings of :class:`DiffusionBackbone`."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS

from ...diffusion.condition import Condition
from ...diffusion.contract import DiffusionModel
from ...diffusion.taps import Tap
from ...utils.compat import autocast_dtype
from ...utils.errors import UserError, did_you_mean
from ...utils.values import check_choice, check_whole, is_number, is_whole
from .levels import JOINS

_VIEWS = ('count', 'seed')  # options of `feature_cache.views`


def check_options(
    model: DiffusionModel,
    timestep: int | Sequence[int],
    join: str,
    feature_dropout: float,
    input_std: float | Sequence[float],
    massive_above: float | None = None,
) -> tuple[int, ...]:
    """Stop on values out of range.

    Returns:
        tuple[int]: The levels of the perception pass.

    Raises:
        ValueError: One sentence that says the range.
    """
    levels = tuple(timestep) if isinstance(timestep, (list, tuple)) else (timestep,)
    if not levels:
        raise UserError('backbone.timestep must be a level of noise, or a list of them, but the list is empty')
    for level in levels:
        model.check_level(level, 'backbone.timestep')
    check_choice('backbone.join_levels', join, JOINS)
    if not is_number(feature_dropout, 0) or feature_dropout >= 1:
        raise UserError(f'backbone.feature_dropout = {feature_dropout!r} must be in [0, 1)')
    if massive_above is not None and (not is_number(massive_above, 1) or massive_above == 1):
        raise UserError(
            f'backbone.massive_above = {massive_above!r} leaves out channels that are so many times the median: give a '
            'number far above 1, such as 20, or None'
        )
    if (torch.as_tensor(input_std, dtype=torch.float32) <= 0).any():
        raise UserError(f'backbone.input_std = {input_std} must be positive')
    return levels


def check_cached_images(cached_images: int, changing: bool) -> None:
    """Stop on a cache in memory that cannot be.

    Args:
        cached_images (int): How many it keeps; 0: there is none.
        changing (bool): Features are drawn, or what makes them is trained.

    Raises:
        ValueError: One sentence that says the range, or what to switch off.
    """
    check_whole('backbone.cached_images', cached_images, 0)
    if cached_images and changing:
        raise UserError(
            'backbone.cached_images keeps features that are the same every time: '
            'switch `noise`, `sample_posterior`, `train` and `text_adapter` off, or the cache'
        )


def cache_folder(value: Any) -> Path:
    """What ``feature_cache.folder`` names; whether it can be written shows with the first file.

    Raises:
        ValueError: No path, or a file lies there or where a folder above is to be.
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise UserError(f"feature_cache.folder = {value!r} must be the path of a folder, such as 'features'")
    try:
        folder = Path(value).expanduser()
    except RuntimeError as error:
        raise UserError(f'feature_cache.folder = {value!r} names the home of no user: write the whole path') from error
    in_the_way = None
    with suppress(OSError):  # of a folder that this user may not enter
        there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
        in_the_way = None if there.is_dir() else there
    if in_the_way is not None:
        raise UserError(f'feature_cache.folder = {value!r} is to be a folder, but {in_the_way} is none: name another')
    return folder


def check_cached_views(views: Any) -> None:
    """Stop on what ``feature_cache.views`` does not take.

    Raises:
        ValueError: No whole number of at least 0, nor a dict of such.
    """
    if not isinstance(views, dict):
        check_whole('feature_cache.views', views, 0)
        return
    for name, value in views.items():
        if name not in _VIEWS:
            raise UserError(f'feature_cache.views has no option {name!r}' + did_you_mean(str(name), _VIEWS))
        check_whole(f'feature_cache.views.{name}', value, 0)


def finer_strides(groups: Sequence[Sequence[Tap]], image_scale: int, as_they_are: bool) -> tuple[int, ...]:
    """Strides of maps in pixels of the images, where the model sees these enlarged.

    Args:
        groups (Sequence[Sequence[Tap]]): Taps of each stride, finest first.
        image_scale (int): How many times.
        as_they_are (bool): Another option asks for images of their own size.

    Returns:
        tuple[int]: One per group.

    Raises:
        ValueError: The scale is no whole number that divides all strides, or does not go with another option.
    """
    strides = [group[0].stride for group in groups]
    if not is_whole(image_scale, 1) or any(stride % image_scale for stride in strides):
        raise UserError(
            f'backbone.image_scale = {image_scale!r} must be a whole number that divides the strides of the taps '
            f'{strides}'
        )
    if image_scale > 1 and as_they_are:
        raise UserError(
            'backbone.image_scale enlarges images, but attention_maps and keep_padding are for their own size: set it '
            'to 1, or switch these off'
        )
    return tuple(stride // image_scale for stride in strides)


def static_condition(model: DiffusionModel, condition: dict | None) -> Condition:
    """One row, which holds for every image."""
    built = MODELS.build(condition or dict(type='Prompt'))
    if built.per_image:
        raise UserError(
            f'{type(built).__name__} describes single images and serves the generator; the '
            'backbone takes Prompt, ClassNames, ClassLabel(label=...) or one PrecomputedEmbeddings for all images'
        )
    row = built.embed(model.text)
    model.check_condition(row)
    return row.to(torch.device('cpu'), model.dtype)


def dtype_for_heads(own: torch.dtype, plain: torch.dtype, device_type: str) -> torch.dtype:
    """In which dtype maps of the diffusion model reach neck and heads.

    Without autocast that of the images. With it, a map in its dtype is what a layer under it would
    give, and so is float32; any third one stops autocast wherever maps are joined (a bfloat16 map
    in a float16 autocast: "Unexpected floating ScalarType").

    Args:
        own (torch.dtype): Of the map.
        plain (torch.dtype): Of the images.
        device_type (str): Where the heads run, for example 'cuda'.

    Returns:
        torch.dtype: To convert the map to.
    """
    autocast = autocast_dtype(device_type)
    if autocast is None:
        return plain
    if own == autocast:
        return own
    return torch.promote_types(own, torch.float32)


def match_strides(wanted: Sequence[int], available: Sequence[int]) -> list[int]:
    """Index of the map that feeds each output.

    As many outputs as maps are fed in order, from fine to deep, if they are wanted in order;
    otherwise each takes the map of the nearest stride.
    """
    if len(wanted) == len(available) and list(wanted) == sorted(wanted):
        return list(range(len(wanted)))
    return [min(range(len(available)), key=lambda i: abs(math.log2(available[i] / stride))) for stride in wanted]
