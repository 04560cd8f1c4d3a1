"""Random numbers of a training step."""
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub

from ...diffusion import stable_seed


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
