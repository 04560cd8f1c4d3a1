"""Shorter runs of a config, with its schedules."""

import math
from typing import Any

from mmengine.config import Config

from ..utils.configs import find_hook, type_name
from ..utils.errors import UserError
from ..utils.values import is_number

__all__ = ['shorten']

# What MMEngine's parameter schedulers count in epochs or iterations: moments, and lengths, of which none is 0.
_MOMENTS = ('begin', 'end', 'milestones', 'patience', 'cooldown')
_LENGTHS = ('T_max', 'total_iters', 'total_steps', 'step_size', 'periods')


def shorten(cfg: Config, share: float) -> int:
    """Lets a config run a share of its length, validated at the end of each stage alone.

    Warm-up, schedules, re-creation and checkpoints follow; of checkpoints all that are written stay.

    Args:
        cfg (Config): With a SelfImprovingHook; changed in place.
        share (float): In (0, 1].

    Returns:
        int: Length of the warm-up in epochs or iterations, as the config's checkpoints count from now on.

    Raises:
        ValueError: ``share`` is out of range, or the warm-up counts in another unit than the training loop.
    """
    if not is_number(share, 0, 1) or not share:
        raise UserError(f"share = {share!r} must be above 0 and at most 1: the part of the config's length to run")
    loop, hook = cfg.train_cfg, find_hook(cfg, 'SelfImprovingHook')
    assert hook is not None
    by_epoch = loop.get('by_epoch', 'max_epochs' in loop)
    if hook.get('by_epoch') not in (None, by_epoch):
        raise UserError('SelfImprovingHook.by_epoch differs from the loop of the training: give warm_up in its unit')
    name = 'max_epochs' if by_epoch else 'max_iters'
    total = max(2, round(loop[name] * share))
    warm_up = min(max(1, round(hook['warm_up'] * share)), total - 1)
    loop.update({name: total, 'val_interval': total})
    loop.pop('dynamic_intervals', None)
    hook['warm_up'] = warm_up
    if hook.get('recreate_every'):
        hook['recreate_every'] = max(1, round(hook['recreate_every'] * share))
    for schedule in _schedules(cfg):
        for key in (*_MOMENTS, *_LENGTHS):
            if schedule.get(key) is not None:
                schedule[key] = _scaled(schedule[key], share, key in _LENGTHS)
        if 'Exponential' in type_name(schedule) and is_number(schedule.get('gamma')):
            schedule['gamma'] **= 1 / share  # as much in fewer steps
        if 'end' in schedule:
            schedule['end'] = max(schedule['end'], schedule.get('begin', 0) + 1)
    cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='AtomicCheckpointHook'))
    cfg.default_hooks.checkpoint.update(by_epoch=by_epoch, interval=total, max_keep_ckpts=-1)
    cfg.default_hooks.checkpoint.pop('save_best', None)
    return warm_up


def _schedules(cfg: Config) -> list[dict]:
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def _scaled(value: Any, share: float, length: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return [_scaled(item, share, length) for item in value]
    # periods that sum up to less than the run would end before it
    return max(1, math.ceil(value * share)) if length else round(value * share)
