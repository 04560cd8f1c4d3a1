"""Arms of an experiment on a shipped config: the runs of :mod:`diff2in1_mm.comparison`, options, tables.

Every run is a config through MMEngine's Runner and the hook, as `tools/train.py` runs it.
"""

import argparse
import json
import os.path as osp
from collections.abc import Callable, Sequence

from mmengine.config import Config

from diff2in1_mm.comparison.runs import Arm, ArmRuns
from diff2in1_mm.comparison.table import row
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.randomness import stable_seed


class Experiment(ArmRuns):
    """Runs arms and tells what came out, with synthetic samples in common where arms create the same ones.

    Args:
        out (str): Folder of all runs; each has its own below, with logs and summary.json.
        arms (dict[str, Arm]): By name.
        baseline (str): The arm that the others are compared with, seed by seed.
        metric (str): Key of the summary's stages.
        configure (Callable): ``(arm, seed) -> Config`` of a run; work dir and store are set here.
        warm_up (int): Iterations of the warm-up.
        shared (str | None): As in :class:`ArmRuns`.
        cache (FeatureCache | None): As in :class:`ArmRuns`.
        scale (float): Of the metric in tables: 100 for shares. Default 1.
        args (Namespace | None): Options that all runs in ``out`` have in common; the folder of an
            experiment with others is refused.
    """

    def __init__(
        self,
        out: str,
        arms: dict[str, Arm],
        baseline: str,
        metric: str,
        configure: Callable[[Arm, int], Config],
        warm_up: int,
        shared: str = None,
        cache: FeatureCache = None,
        scale: float = 1.0,
        args: argparse.Namespace = None,
    ) -> None:
        super().__init__(out, arms, self._with_store, warm_up, cache, shared)
        self.baseline, self.metric, self.scale, self.args = baseline, metric, scale, args
        self._configure = configure

    def run(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Run what is missing, seed by seed.

        Raises:
            SystemExit: ``out`` holds runs of other settings.
        """
        if self.args is not None:
            keep_settings(self.out, self.args)
        super().run(names, seeds)

    def _with_store(self, arm: Arm, seed: int) -> Config:
        cfg = self._configure(arm, seed)
        hook = cfg.custom_hooks[0]
        if hook.creation is not None:
            # what theta_C makes at the end of a shared warm-up is shared too
            said = [hook.creation.to_dict(), hook.get('confidence'), hook.get('labelling')]
            made = json.dumps(said, sort_keys=True, default=str)
            name = f'synthetic-{arm.family}-{stable_seed(made):016x}-{seed}'
            cfg.train_dataloader.dataset.store = osp.join(self.out, name)
        return cfg

    def scores(self, name: str, seeds: Sequence[int], stage: str = 'self_improving') -> dict:
        """Seed -> metric of the finished runs of an arm."""
        found = super().scores(name, seeds, self.metric, stage)
        return {seed: self.scale * score for seed, score in found.items()}

    def table(self, seeds: Sequence[int]) -> str:
        """Markdown: every run, mean, deviation, and the paired difference to the baseline."""
        lines = [
            '| arm | '
            + ' | '.join(f'seed {s}' for s in seeds)
            + f' | mean | sd | minus "{self.baseline}" | p (paired t) |',
            '|---|' + '---|' * (len(seeds) + 4),
        ]
        for family in dict.fromkeys(arm.family for arm in self.arms.values()):
            for name, arm in self.arms.items():
                scores = self.scores(name, seeds, 'warm_up') if arm.family == family else {}
                if scores:
                    lines.append(row(f'warm-up ({family})', scores, seeds, {}))
                    break
        base = self.scores(self.baseline, seeds)
        for name, arm in self.arms.items():
            scores = self.scores(name, seeds)
            if scores:
                other = {} if name == self.baseline else base
                lines.append(row(f'{name}: {arm.text}', scores, seeds, other))
        return '\n'.join(lines)


def keep_settings(folder: str, args: argparse.Namespace) -> None:
    """Write what runs in one table have in common, or compare it with what is there.

    That is all options but those of a single call, and the weights of the diffusion model.

    Raises:
        SystemExit: They differ.
    """
    per_call = ('arms', 'cached_images', 'labels', 'out', 'pipelines', 'plots', 'seeds', 'table', 'vary')
    settings = {name: value for name, value in vars(args).items() if name not in per_call}
    settings['diffusion model'] = LatentDiffusion.from_pretrained(args.pipeline).digest()
    path = osp.join(folder, 'settings.json')
    if not osp.exists(path):
        write_atomic(path, json.dumps(settings, indent=2).encode())
        return
    with open(path, encoding='utf-8') as file:
        before = json.load(file)
    changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if changed:
        raise SystemExit(
            f'{folder} holds runs with another {", ".join(changed)}: give another --out, or remove the folder'
        )


def set_lengths(cfg: Config, warm_up: int, self_improving: int) -> None:
    """Let a shipped config run so many iterations, with checkpoints at the boundary and the end."""
    total = warm_up + self_improving
    cfg.merge_from_dict(
        {'default_hooks.checkpoint.interval': total, 'train_cfg.max_iters': total, 'train_cfg.val_interval': total}
    )
    cfg.param_scheduler[-1]['end'] = total
    cfg.custom_hooks[0].warm_up = warm_up


def use_part(cfg: Config, args: argparse.Namespace, arm: Arm, seed: int) -> None:
    """Let a shipped config train on so many labelled images of a folder, drawn by the seed, as an arm asks for it."""
    set_lengths(cfg, args.warm_up, args.self_improving)
    for loader in (cfg.train_dataloader.dataset, cfg.val_dataloader):
        loader.dataset.data_root = args.data_root
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_dataloader.dataset.dataset.update(num_labelled=args.num_labelled, seed=seed)
    hook = cfg.custom_hooks[0]
    hook.update(arm.hook)
    if hook.creation is not None:
        hook.creation.T = args.T


def experiment_arguments(description: str, arms: dict[str, Arm], **defaults) -> argparse.ArgumentParser:
    """The options that all experiments have; ``defaults`` as in ``set_defaults``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root')
    parser.add_argument('--pipeline', help='diffusion model')
    parser.add_argument('--out', help='folder of all runs')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=list(arms), default=list(arms))
    parser.add_argument('--num-labelled', type=int)
    parser.add_argument('--warm-up', type=int, help='iterations')
    parser.add_argument('--self-improving', type=int, help='iterations')
    parser.add_argument('--T', type=int, help='noise step of the synthetic images')
    parser.add_argument('--table', action='store_true', help='only print the table')
    parser.set_defaults(**defaults)
    return parser
