"""Runs of a comparison: arms that share their warm-ups, each finished run kept."""

import io
import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..hooks.read_checkpoint import read_checkpoint
from ..models.backbones.feature_cache import FeatureCache
from ..self_improving.state import WARM_UP
from ..utils.atomic_files import write_atomic
from ..utils.json_files import read_json

__all__ = ['Arm', 'ArmRuns', 'first_of']


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        family (str): Arms of one family share a warm-up.
        hook (dict): Settings of the SelfImprovingHook; ``creation=None`` makes it a control.
        text (str): A sentence for the table.
        options (dict): Other settings of the config, as ``merge_from_dict`` takes them.
        self_training (bool): Only the unlabelled pictures of ``creation.unlabelled`` are added; a control, too.
    """

    family: str
    hook: dict
    text: str
    options: dict = {}
    self_training: bool = False

    @property
    def control(self) -> bool:
        """bool: It trains on real data alone."""
        return self.self_training or self.hook.get('creation', True) is None


class ArmRuns:
    """The runs of several arms and seeds, as ``tools/train.py`` runs each.

    Arms with the same warm-up share it: the checkpoint that the first of them writes at its end is resumed by the
    others. A finished run is not repeated, nor a warm-up, so that a killed comparison goes on where it was: the run
    that was killed begins behind its warm-up, or, killed in that, anew.

    Args:
        out (str): Folder of the runs, one below for each, with logs and summary.json.
        arms (Mapping[str, Arm]): By name.
        configure (Callable): ``(arm, seed) -> Config`` of a run; its work dir is set here.
        warm_up (int): Length of the warm-up, in the unit of the config's checkpoints.
        cache (FeatureCache | None): Frozen features, kept over all runs.
        shared (str | None): Folder of the warm-ups and of the controls without options of their own, where other
            comparisons have them in common. Default: ``out``.
    """

    def __init__(
        self,
        out: str,
        arms: Mapping[str, Arm],
        configure: Callable[[Arm, int], Config],
        warm_up: int,
        cache: FeatureCache | None = None,
        shared: str | None = None,
    ) -> None:
        self.out, self.arms, self.configure, self.warm_up = out, arms, configure, warm_up
        self.cache, self.shared = cache, shared or out

    def run(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Runs what is missing, seed by seed, so that the first seeds can be looked at early.

        The first arm of a family says how all of it warms up: where that warm-up is missing, it runs too.
        """
        missing = [(name, seed) for seed in seeds for name in self._in_turn(names, seed)]
        for number, (name, seed) in enumerate(missing, 1):
            print_log(f'Run {number} of {len(missing)}: {name}, seed {seed}', 'current')
            self._run(name, seed)

    def _in_turn(self, names: Sequence[str], seed: int) -> list[str]:
        """The arms that have to be run, each behind the one that it has its warm-up from."""
        found: list[str] = []
        for name in names:
            if osp.exists(self._summary(name, seed)):
                continue
            first = first_of(self.arms, name)
            self._keep_warm_up(first, seed)
            needed = [name] if osp.exists(self._warm_up(name, seed)) else [first, name]
            found += [other for other in dict.fromkeys(needed) if other not in found]
        return found

    def scores(self, name: str, seeds: Sequence[int], metric: str, stage: str = 'self_improving') -> dict[int, float]:
        """Seed -> metric of the finished runs of an arm, at the end of a stage."""
        summaries = {seed: self.summary(name, seed) for seed in seeds}
        return {seed: summary['stages'][stage][metric] for seed, summary in summaries.items() if summary}

    def summary(self, name: str, seed: int) -> dict[str, Any] | None:
        """What ``summary.json`` of a run says; None where it has not ended."""
        path = self._summary(name, seed)
        if not osp.exists(path):
            return None
        return read_json(
            path,
            lambda content: all(isinstance(content[part], dict) for part in ('stages', 'seconds')),
            'remove the folder that it is in, and the arm is run again',
        )

    def seconds(self, name: str, seed: int) -> float | None:
        """Seconds of a run with its warm-up, without validation."""
        summary = self.summary(name, seed)
        if summary is None:
            return None
        return sum(seconds for part, seconds in summary['seconds'].items() if part != 'validation')

    def folder(self, name: str, seed: int) -> str:
        """Work dir of a run."""
        arm = self.arms[name]
        # options such as the size of batches may follow the factor that other comparisons vary
        shared = arm.control and not arm.options
        return osp.join(self.shared if shared else self.out, f'{name.replace(" ", "_")}-{seed}')

    def _summary(self, name: str, seed: int) -> str:
        return osp.join(self.folder(name, seed), 'summary.json')

    def _warm_up(self, name: str, seed: int) -> str:
        return osp.join(self.shared, f'warm_up-{self.arms[name].family}-{seed}.pth')

    def _run(self, name: str, seed: int) -> None:
        cfg = self.configure(self.arms[name], seed)
        cfg.work_dir = self.folder(name, seed)
        cfg.experiment_name = f'{osp.basename(osp.abspath(self.out))}_{name}_{seed}'
        warm_up = self._warm_up(name, seed)
        if osp.exists(warm_up):
            cfg.load_from, cfg.resume = warm_up, True
        runner = Runner.from_cfg(cfg)
        if self.cache is not None and hasattr(runner.model.backbone, 'share_features'):
            runner.model.backbone.share_features(self.cache)
        runner.train()
        self._keep_warm_up(name, seed)

    def _keep_warm_up(self, name: str, seed: int) -> None:
        """Keeps the warm-up of a run that has come to its end, or beyond it."""
        boundaries = (osp.join(self.folder(name, seed), f'{unit}_{self.warm_up}.pth') for unit in ('iter', 'epoch'))
        boundary = next(filter(osp.exists, boundaries), None)
        if boundary is not None and not osp.exists(self._warm_up(name, seed)):
            keep_warm_up(boundary, self._warm_up(name, seed))


def first_of(arms: Mapping[str, Arm], name: str) -> str:
    """The first arm of an arm's family, which has its warm-up first."""
    return next(other for other, arm in arms.items() if arm.family == arms[name].family)


def keep_warm_up(boundary: str, path: str) -> None:
    """Turns the checkpoint of a warm-up's end into one that every arm of the family can resume.

    Args:
        boundary (str): Written by the hook at that moment, of any arm.
        path (str): Of the result.
    """
    checkpoint = read_checkpoint(boundary)
    checkpoint['self_improving']['stage'] = WARM_UP
    checkpoint.pop('theta_E', None)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomic(path, content.getvalue())
