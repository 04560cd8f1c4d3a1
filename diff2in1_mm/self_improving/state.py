"""What a resumed run needs beside parameters: its stage and round, restarted schedules, and which samples come next."""

import copy
import os.path as osp
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmengine.dist import all_gather, get_dist_info
from mmengine.hooks import IterTimerHook
from mmengine.optim import OptimWrapperDict
from torch import Tensor

from ..store.store import SyntheticStore
from ..utils.errors import UserError


class SlotVisits:
    """How often every process has drawn the slots of ``SyntheticMixDataset``, for checkpoints.

    Which sample fills a slot depends on how often it was drawn since its round began. Where an
    iteration-based run resumes, MMEngine draws all past batches again, so they are counted again;
    the count at which the round began has to be known. An epoch-based run draws nothing again, and
    the present count has to be known too.
    """

    def __init__(self) -> None:
        self._since: list[Tensor] = []
        self._now: list[Tensor] = []

    def round_began(self, dataset: Any) -> None:
        """To be called by every process when a round is served for the first time."""
        self._since, self._now = all_gather(dataset.since.clone()), []

    def epoch_ended(self, dataset: Any) -> None:
        """To be called by every process, in epoch-based runs."""
        self._now = all_gather(dataset.visits.clone())

    def to_dict(self) -> dict:
        """Counts as tensors, int32 of shape (slots,), a list entry for each process."""
        return dict(since=[visits.cpu() for visits in self._since], now=[visits.cpu() for visits in self._now])

    def serve(self, dataset: Any, round: int, saved: Mapping[str, list[Tensor]] | None) -> None:
        """Serve a round as it was served when a checkpoint was written.

        Where the number of processes or of slots is another one, batches are other ones as well, and
        counting begins anew.

        Args:
            dataset (SyntheticMixDataset): Of the resumed run.
            round (int): Of the checkpoint.
            saved (Mapping | None): What :meth:`to_dict` gave; None: counting begins anew.
        """
        rank, world_size = get_dist_info()
        since, now = (saved or {}).get('since', ()), (saved or {}).get('now', ())
        fits = len(since) == world_size and since[rank].shape == dataset.visits.shape
        if fits and now:
            dataset.visits.copy_(now[rank])
        if fits:
            self._since, self._now = list(since), list(now)
        dataset.serve(round, since[rank] if fits else None)
        if not fits:
            self.round_began(dataset)


WARM_UP = 'warm_up'
CREATION = 'creation'
SELF_IMPROVING = 'self_improving'


@dataclass
class StageState:
    """The stage of a run and the figures that its summary needs.

    Attributes:
        stage (str): 'warm_up', 'creation' or 'self_improving'.
        round (int): Round of synthetic samples that is created or served.
        start (int): First iteration after the warm-up.
        metrics (dict): Of the last validation.
        validated_at (int): Iteration of the last validation, -1 before the first.
        stages (dict): Stage that has ended -> its last metrics.
        synthetic (dict): What was created (``samples``, ``rounds``).
        seconds (dict): Part of the run -> seconds so far.
    """

    stage: str = WARM_UP
    round: int = 0
    start: int = 0
    metrics: dict = field(default_factory=dict)
    validated_at: int = -1
    stages: dict = field(default_factory=dict)
    synthetic: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Python's own types only, so that it loads with ``weights_only=True``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping) -> 'StageState':
        """Keys of another version are left out."""
        return cls(**{key: state[key] for key in cls.__dataclass_fields__ if key in state})


def rounds_in(store_root: str) -> set[int]:
    """Rounds of which a store holds samples; none where there is no store."""
    if not osp.exists(osp.join(store_root, 'store.json')):
        return set()
    return SyntheticStore(store_root, warn=False).rounds()


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
        raise UserError(
            'restart_schedule=True builds the schedules anew, which a '
            f'{type(runner).__name__} cannot: leave runner_type out of the config.'
        )
    if runner.param_schedulers and not runner.cfg.get('param_scheduler'):
        raise UserError(
            'restart_schedule=True builds the schedules anew, but this Runner has no '
            'config of them: give it `cfg` with a `param_scheduler`.'
        )


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
    runner.param_schedulers = runner.build_param_scheduler(copy.deepcopy(runner.cfg.param_scheduler))


def restart_timer(runner) -> None:
    """Keep validation and creation out of the time per iteration, and so out of the ETA."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            hook._before_epoch(runner)


def update_due(runner, batch_idx: int, interval: int, interval_from: str, start: int) -> bool:
    """Whether theta_C moves after this iteration: only where theta_E has, and every ``interval``-th time.

    Of several optimizers with different ``accumulative_counts`` the one counts that steps most often.

    Args:
        runner: After ``update_params``.
        batch_idx (int): Of the iteration in its epoch.
        interval (int): Steps of the optimizer from one update to the next.
        interval_from (str): Where they are counted from: 'stage' or 'epoch'.
        start (int): First iteration of the stage.
    """
    wrappers = _wrappers(runner.optim_wrapper)
    if not any(wrapper.should_update() for wrapper in wrappers):  # gradients are being accumulated
        return False
    counts = min(wrapper._accumulative_counts for wrapper in wrappers)
    if interval_from == 'epoch':
        step = runner.iter // counts - (runner.iter - batch_idx) // counts
        return step > 0 and step % interval == 0
    return (-(-(runner.iter + 1) // counts) - start // counts) % interval == 0


def _wrappers(optim_wrapper) -> list:
    several = isinstance(optim_wrapper, OptimWrapperDict)
    return list(optim_wrapper.values()) if several else [optim_wrapper]
