"""Random numbers of a training step."""

import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub

from ..utils.randomness import stable_seed


def step_generator(seed: int, stage: str) -> torch.Generator:
    """A CPU generator for the present iteration and process, the same after a resume.

    Args:
        seed (int): Of the run.
        stage (str): Keeps stages apart.

    Returns:
        torch.Generator: Freshly seeded.
    """
    iteration = MessageHub.get_current_instance().get_info('iter', 0)
    return torch.Generator().manual_seed(stable_seed(seed, stage, iteration, get_rank()))


def spread_levels(count: int, total: int, generator: torch.Generator) -> torch.Tensor:
    """Levels of noise, evenly spread over a batch and in rising order, so that the loss varies less.

    Args:
        count (int): Rows of the batch.
        total (int): Levels that there are.
        generator (torch.Generator): On the CPU.

    Returns:
        Tensor: Shape (count,), int64 on the CPU, from 0 to ``total - 1``.
    """
    spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (spread * total).long().clamp_max(total - 1)


def step_noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise, drawn on its device: a CPU takes as long for it as a GPU for a step.

    Args:
        like (Tensor): Gives shape, dtype and device.
        generator (torch.Generator): On the CPU. It draws the noise of CPUs, and the seed of that
            of other devices, whose numbers differ.

    Returns:
        Tensor: Noise.
    """
    if like.device.type != 'cpu':
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
