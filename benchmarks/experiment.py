"""Arms of an experiment: runs of one config that share their warm-ups, and the table of them.

Every run is a config through MMEngine's Runner and the hook, as `tools/train.py` runs it. Arms with
the same warm-up share it: the checkpoint that the first of them writes at the boundary is resumed
by the others. Finished runs are not repeated.
"""

import argparse
import json
import os
import os.path as osp
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner
from scipy.stats import ttest_rel

from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.randomness import stable_seed


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        family: Arms of one family share a warm-up.
        hook: Settings of the SelfImprovingHook.
        text: A sentence for the table.
        options: Other settings of the config, as ``merge_from_dict`` takes them.
    """

    family: str
    hook: dict
    text: str
    options: dict = {}


@TRANSFORMS.register_module()
class PhotometricCopies:
    """MMSeg's photometric distortion, but only ``copies`` different ones of an image.

    As strong as the original for training on few images, and their features can be kept.

    Args:
        copies (int): Distorted copies; the image itself comes as often as one of them.
    """

    def __init__(self, copies: int) -> None:
        from mmseg.datasets.transforms import PhotoMetricDistortion

        self.copies, self.distort = copies, PhotoMetricDistortion()

    def __call__(self, results: dict) -> dict:
        copy = np.random.randint(self.copies + 1)
        folder = osp.dirname(osp.dirname(results['img_path']))
        if copy == 0 or osp.isfile(osp.join(folder, 'store.json')):  # synthetic
            return results
        state = np.random.get_state()
        np.random.seed(stable_seed(osp.basename(results['img_path']), copy) % 2**32)
        results = self.distort(results)
        np.random.set_state(state)
        return results


class Experiment:
    """Runs arms and tells what came out.

    Args:
        out (str): Folder of all runs; each has its own below, with logs and summary.json.
        arms (dict[str, Arm]): By name.
        baseline (str): The arm that the others are compared with, seed by seed.
        metric (str): Key of the summary's stages.
        configure (Callable): ``(arm, seed) -> Config`` of a run; work dir and store are set here.
        warm_up (int): Iterations of the warm-up.
        shared (str | None): Folder of the warm-ups and of the arms without synthetic images and
            options, where other experiments have them in common. Default: ``out``.
        cache (FeatureCache | None): Features of the frozen backbone, kept over all runs.
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
        self.out, self.arms, self.baseline, self.metric = out, arms, baseline, metric
        self.configure, self.warm_up, self.shared = configure, warm_up, shared or out
        self.cache, self.scale, self.args = cache, scale, args

    def run(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Run what is missing, seed by seed.

        Raises:
            SystemExit: ``out`` holds runs of other settings.
        """
        if self.args is not None:
            keep_settings(self.out, self.args)
        for seed in seeds:
            for name in names:
                if not osp.exists(self._warm_up(name, seed)):
                    # the first arm of a family says how all of it warms up
                    self._run(
                        next(first for first, arm in self.arms.items() if arm.family == self.arms[name].family), seed
                    )
                if not osp.exists(self._summary(name, seed)):
                    self._run(name, seed)

    def _warm_up(self, name: str, seed: int) -> str:
        return osp.join(self.shared, f'warm_up-{self.arms[name].family}-{seed}.pth')

    def _folder(self, name: str, seed: int) -> str:
        arm = self.arms[name]
        # options such as the size of batches may follow the factor
        shared = arm.hook.get('creation', True) is None and not arm.options
        return osp.join(self.shared if shared else self.out, f'{name.replace(" ", "_")}-{seed}')

    def _summary(self, name: str, seed: int) -> str:
        return osp.join(self._folder(name, seed), 'summary.json')

    def _run(self, name: str, seed: int) -> None:
        arm = self.arms[name]
        cfg = self.configure(arm, seed)
        cfg.work_dir = self._folder(name, seed)
        cfg.experiment_name = f'{osp.basename(self.out)}_{name}_{seed}'
        creation = cfg.custom_hooks[0].creation or {}
        kind = creation.get('generator', 'PartialNoiseGenerator')
        kind += '-' + creation.get('label_from', 'fresh')
        sure = cfg.custom_hooks[0].get('confidence')
        # what theta_C makes at the end of a shared warm-up is shared too
        cfg.train_dataloader.dataset.store = osp.join(self.out, f'synthetic-{arm.family}-{kind}-{sure}-{seed}')
        warm_up = self._warm_up(name, seed)
        if osp.exists(warm_up):
            cfg.load_from, cfg.resume = warm_up, True
        runner = Runner.from_cfg(cfg)
        if self.cache is not None:
            runner.model.backbone._cache = self.cache
        runner.train()
        if not osp.exists(warm_up):
            keep_warm_up(cfg.work_dir, warm_up, self.warm_up)

    def scores(self, name: str, seeds: Sequence[int], stage: str = 'self_improving') -> dict:
        """Seed -> metric of the finished runs of an arm."""
        found = {}
        for seed in seeds:
            if osp.exists(self._summary(name, seed)):
                with open(self._summary(name, seed), encoding='utf-8') as file:
                    found[seed] = self.scale * json.load(file)['stages'][stage][self.metric]
        return found

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
                    lines.append(_row(f'warm-up ({family})', scores, seeds, {}))
                    break
        base = self.scores(self.baseline, seeds)
        for name, arm in self.arms.items():
            scores = self.scores(name, seeds)
            if scores:
                other = {} if name == self.baseline else base
                lines.append(_row(f'{name}: {arm.text}', scores, seeds, other))
        return '\n'.join(lines)


def keep_settings(folder: str, args: argparse.Namespace) -> None:
    """Write what runs in one table have in common, or compare it with what is there.

    That is all options but those of a single call, and the weights of the diffusion model.

    Raises:
        SystemExit: They differ.
    """
    per_call = ('arms', 'cached_images', 'out', 'pipelines', 'plots', 'seeds', 'table', 'vary')
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


def keep_warm_up(work_dir: str, path: str, iteration: int) -> None:
    """Turn the checkpoint of the boundary into one that every arm of the family can resume."""
    checkpoint = load_weights_only(osp.join(work_dir, f'iter_{iteration}.pth'))
    checkpoint['self_improving']['stage'] = 'warm_up'
    checkpoint.pop('theta_E', None)
    torch.save(checkpoint, f'{path}.tmp')
    os.replace(f'{path}.tmp', path)


def paired(scores: dict, base: dict) -> tuple:
    """Mean and deviation of the differences over common seeds, and the p of a paired t test."""
    seeds = [seed for seed in scores if seed in base]
    differences = [scores[seed] - base[seed] for seed in seeds]
    if len(seeds) < 2:
        return (differences[0] if differences else None), None, None
    p = ttest_rel([scores[s] for s in seeds], [base[s] for s in seeds]).pvalue
    return statistics.mean(differences), statistics.stdev(differences), float(p)


def _row(name: str, scores: dict, seeds: Sequence[int], base: dict) -> str:
    cells = [f'{scores[s]:.2f}' if s in scores else '-' for s in seeds]
    values = list(scores.values())
    deviation = f'{statistics.stdev(values):.2f}' if len(values) > 1 else '-'
    mean, spread, p = paired(scores, base)
    difference = '-' if mean is None else f'{mean:+.2f}'
    if spread is not None:
        difference += f' ± {spread:.2f}'
    return (
        f'| {name} | '
        + ' | '.join(
            [*cells, f'{statistics.mean(values):.2f}', deviation, difference, '-' if p is None else f'{p:.3f}']
        )
        + ' |'
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
