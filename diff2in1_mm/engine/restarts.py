"""What may begin anew at the end of the warm-up: optimizer state, schedules, the timer."""
import copy

from mmengine.hooks import IterTimerHook
from mmengine.optim import OptimWrapperDict

__all__ = ['check_schedules', 'forget_state', 'restart_schedules', 'restart_timer']


def forget_state(optim_wrapper) -> None:
    """Forget what the optimizers remember of past gradients, such as Adam's moments."""
    for wrapper in _wrappers(optim_wrapper):
        wrapper.optimizer.state.clear()


def check_schedules(runner) -> None:
    """Name a run whose schedules cannot begin anew.

    Raises:
        ValueError: The Runner was given built schedulers, not their configs, or cannot build them.
    """
    if runner.param_schedulers and not hasattr(runner, 'build_param_scheduler'):
        raise ValueError('restart_schedule=True builds the schedules anew, which a '
                         f'{type(runner).__name__} cannot: leave runner_type out of the config.')
    if runner.param_schedulers and not runner.cfg.get('param_scheduler'):
        raise ValueError('restart_schedule=True builds the schedules anew, but this Runner has no '
                         'config of them: give it `cfg` with a `param_scheduler`.')


def restart_schedules(runner) -> None:
    """Begin the config's ``param_scheduler`` anew, at its first step.

    Values (learning rates, momenta) go back to where the run began; ``begin`` and ``end`` of the
    schedules count from here.
    """
    if not runner.param_schedulers:
        return
    for wrapper in _wrappers(runner.optim_wrapper):
        for group in wrapper.param_groups:
            for key in [key for key in group if key.startswith('initial_')]:
                group[key.removeprefix('initial_')] = group[key]
    runner.param_schedulers = runner.build_param_scheduler(copy.deepcopy(
        runner.cfg.param_scheduler))


def restart_timer(runner) -> None:
    """Keep validation and creation out of the time per iteration, and so out of the ETA."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            hook._before_epoch(runner)


def _wrappers(optim_wrapper) -> list:
    several = isinstance(optim_wrapper, OptimWrapperDict)
    return list(optim_wrapper.values()) if several else [optim_wrapper]
