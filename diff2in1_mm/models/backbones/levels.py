"""One pass of the denoiser at several levels of noise, whose maps are joined (MMDiff, 2026)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...diffusion.condition import Condition
from ...diffusion.contract import DiffusionModel

#: How maps of several levels are joined: side by side, or their mean.
JOINS = ('concat', 'mean')


def predict_levels(
    model: DiffusionModel, noised: Sequence[Tensor], levels: Sequence[int], condition: Condition, taps: Sequence[str]
) -> dict[str, Tensor]:
    """Inner maps at several levels, as one batch.

    Args:
        model (DiffusionModel): Frozen.
        noised (Sequence[Tensor]): Latents (N, c, h, w) for each level.
        levels (Sequence[int]): As many.
        condition (Condition): One row for all.
        taps (Sequence[str]): Names of maps.

    Returns:
        dict[str, Tensor]: By name; those of the first level, then the second, ...: ``len(levels) * N`` rows.
    """
    if len(levels) == 1:
        return model.predict(noised[0], levels[0], condition, taps)[1]
    rows = [level for level, latents in zip(levels, noised) for _ in latents]
    return model.predict(torch.cat(list(noised)), rows, condition, taps)[1]


def join_levels(maps: Sequence[Tensor], levels: int, join: str) -> tuple[Tensor, ...]:
    """Maps of single levels to maps of all.

    Args:
        maps (Sequence[Tensor]): Each (levels * N, C, h, w), as :func:`predict_levels` orders rows.
        levels (int): How many.
        join (str): One of :data:`JOINS`.

    Returns:
        tuple[Tensor]: Each (N, levels * C, h, w) or (N, C, h, w), contiguous.
    """
    if levels == 1:
        return tuple(maps)
    parts = [feature.unflatten(0, (levels, -1)) for feature in maps]
    if join == 'mean':
        return tuple(feature.mean(0) for feature in parts)
    return tuple(feature.transpose(0, 1).flatten(1, 2).contiguous() for feature in parts)
