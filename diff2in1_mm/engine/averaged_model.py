"""Which weights count: the averaged ones, where an ``EMAHook`` keeps some."""
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn

from .unwrapped import unwrapped


def averaged_model(runner: Runner) -> nn.Module:
    """The EMA copy of a runner's model, or the unwrapped model itself without an ``EMAHook``."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
            return hook.ema_model.module
    return unwrapped(runner)
