"""What a run does in each iteration, watched from outside."""

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from diff2in1_mm.utils.models import unwrapped


class CountHook(Hook):
    """Notes how many images each training iteration sent through the frozen model."""

    priority = 'LOWEST'

    def __init__(self, counts, seen):
        self.counts, self.seen = counts, seen

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = dict(self.counts)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(tuple(self.counts[k] - self.before[k] for k in ('encode', 'predict')))


@HOOKS.register_module(force=True)
class SaveEachRank(Hook):
    """Writes both parameter sets of each process as they are at the end, ``rank0.pth`` and so on in the work dir."""

    priority = 'LOWEST'

    def after_train(self, runner):
        (theta_c,) = [hook.theta_c for hook in runner.hooks if hasattr(hook, 'theta_c')]
        own = dict(theta_E=unwrapped(runner).state_dict(), theta_C=theta_c.state_dict())
        torch.save(own, f'{runner.work_dir}/rank{get_rank()}.pth')


def with_gradients(model):
    """A list to which each backward pass adds the set of parameters that got a gradient."""
    passes = [set()]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p, name=name: passes[-1].add(name))
    model.register_forward_pre_hook(lambda *args: passes.append(set()) if passes[-1] else None)
    return passes


def train_watched(runner, counted, untouched):
    """Trains, and checks what holds for every model in a batch with synthetic samples.

    Args:
        counted, untouched: The fixtures of those names.

    Returns:
        list[set[str]]: Names of the parameters that got a gradient, for each backward pass.
    """
    seen, passes = [], with_gradients(runner.model)
    runner.register_hook(CountHook(counted, seen))
    runner.train()
    # the frozen model runs once per image, and labels leave theta_E as it was
    assert seen[0] == (4, 4) and seen[2] == (4, 4)
    assert untouched and all(same for same, _, _ in untouched)
    assert any(0 < synthetic < total for _, synthetic, total in untouched)
    for figure in ('ignored', 'agreement', 'loss_synthetic'):
        value = runner.message_hub.log_scalars[f'train/{figure}'].current()
        assert value == value
    return [names for names in passes if names]  # a validation has none
