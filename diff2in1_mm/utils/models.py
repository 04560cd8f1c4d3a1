"""What holds for any model that a Runner has: without its wrapper, averaged, in eval mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> BaseModel:
    """The model of a runner without the wrapper of a distributed run."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def averaged_model(runner: Runner) -> BaseModel:
    """The EMA copy of a runner's model, or the unwrapped model itself without an ``EMAHook``."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
            return hook.ema_model.module
    return unwrapped(runner)


def backbone_of(model: nn.Module) -> Any:
    """A model's backbone; the model itself where it has none of that name, as those with several encoders."""
    return getattr(model, 'backbone', model)


def shares_features(model: nn.Module) -> bool:
    """Whether the features of a model's backbone hold for theta_C and theta_E alike, and can be served."""
    backbone = backbone_of(model)
    return hasattr(backbone, 'serve') and bool(getattr(backbone, 'frozen', False))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; every module's own training flag comes back afterwards."""
    with modes_kept(model):
        model.eval()
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Gives every module its own training flag back (``model.train()`` would level them)."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def seed_of_run(runner) -> int:
    """The seed that all processes share; with ``diff_rank_seed`` MMEngine adds the rank to it."""
    added = get_rank() if runner._randomness_cfg.get('diff_rank_seed') else 0
    return runner.seed - added
