"""The model itself, whatever a runner has put around it."""
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

__all__ = ['unwrapped']


def unwrapped(runner: Runner) -> nn.Module:
    """The model of a runner without the wrapper of a distributed run."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
