"""Checks and derived settings of :class:`DiffusionBackbone`."""

import logging
import math
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import nn

from ...diffusion.condition import Condition
from ...diffusion.contract import DiffusionModel
from ...utils.compat import autocast_dtype
from ...utils.errors import UserError
from ...utils.image_values import swaps_channels
from ...utils.values import check_choice
from .levels import JOINS


def check_options(
    model: DiffusionModel,
    timestep: int | Sequence[int],
    join: str,
    feature_dropout: float,
    input_std: float | Sequence[float],
) -> tuple[int, ...]:
    """Stop on values out of range.

    Returns:
        tuple[int]: The levels of the perception pass.

    Raises:
        ValueError: One sentence that says the range.
    """
    levels = tuple(timestep) if isinstance(timestep, Sequence) else (timestep,)
    if not levels:
        raise UserError('backbone.timestep must be a level of noise, or a list of them, but the list is empty')
    for level in levels:
        model.check_level(level, 'backbone.timestep')
    check_choice('backbone.join_levels', join, JOINS)
    if not 0 <= feature_dropout < 1:
        raise UserError(f'backbone.feature_dropout = {feature_dropout} must be in [0, 1)')
    if (torch.as_tensor(input_std, dtype=torch.float32) <= 0).any():
        raise UserError(f'backbone.input_std = {input_std} must be positive')
    return levels


def check_channel_order(data_preprocessor: nn.Module, input_bgr: bool) -> None:
    """Log a warning if red and blue come to the diffusion model in each other's place.

    Only MMCV's own loading, which gives BGR, is thought of: a loader that gives RGB makes the
    warning void.

    Args:
        data_preprocessor (nn.Module): Of the model.
        input_bgr (bool): Of the backbone.
    """
    swaps = swaps_channels(data_preprocessor)
    if swaps == input_bgr:
        print_log(
            f'The data preprocessor has bgr_to_rgb={swaps} and the backbone input_bgr='
            f'{input_bgr}: unless your images are loaded as RGB, the diffusion model sees '
            f'red and blue exchanged; set backbone.input_bgr={not swaps}.',
            'current',
            level=logging.WARNING,
        )


def static_condition(model: DiffusionModel, condition: dict | None) -> Condition:
    """One row, which holds for every image."""
    built = MODELS.build(condition or dict(type='Prompt'))
    if built.per_image:
        raise UserError(
            f'{type(built).__name__} describes single images and serves the generator; the '
            'backbone takes Prompt, ClassNames or one PrecomputedEmbeddings for all images'
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
