"""Channels of a transformer's maps that are far larger than all others, whatever the image shows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .condition import Condition
from .contract import DiffusionModel
from .taps import Tap
from .trained import brought_to

_PICTURES, _OCTAVES = 4, 7


@torch.no_grad()
def massive_channels(
    model: DiffusionModel, taps: Sequence[Tap], size: tuple[int, int], level: int, condition: Condition, above: float
) -> dict[str, Tensor]:
    """Massive activations (Sun et al., COLM 2024; of diffusion transformers Gan et al., NeurIPS 2025), by a statistic.

    The model looks at four pictures of random blobs of all sizes; a channel is massive whose mean magnitude over them
    is so many times the median of all channels of its map.

    Args:
        model (DiffusionModel): Where its images are.
        taps (Sequence[Tap]): Maps that are looked at.
        size (tuple[int, int]): Height and width of the pictures, which the model's stride divides.
        level (int): Of noise, see :meth:`DiffusionModel.predict`.
        condition (Condition): One row for all.
        above (float): So many times the median.

    Returns:
        dict[str, Tensor]: By name of the tap, bool of shape (channels,), on that device.
    """
    device = getattr(model, 'image_device', model.device)
    with brought_to(device, model):
        latents = model.encode(_pictures(size).to(device))
        found = model.predict(latents, level, condition, [tap.name for tap in taps])[1]
    sizes = {name: feature.float().abs().mean((0, 2, 3)) for name, feature in found.items()}
    return {name: size > above * size.median() for name, size in sizes.items()}


def _pictures(size: tuple[int, int]) -> Tensor:
    """Images (4, 3, *size) in [-1, 1] whose octaves are about equally strong, as those of photographs."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(_PICTURES, 3, *size)
    for octave in range(_OCTAVES):
        noise = torch.randn(_PICTURES, 3, 2 + 2**octave, 2 + 2**octave, generator=generator)
        total += F.interpolate(noise, size, mode='bicubic', align_corners=False)
    return total.div(_OCTAVES**0.5 * 2).clamp(-1, 1)
