"""Does self-improvement add to the controls? CamVid, few labels, every arm of equal length.

    python tools/train_diffusion.py configs/diffusion_camvid.py --amp \\
        --work-dir work_dirs/diffusion_camvid --cfg-options data_root=data/camvid
    python benchmarks/camvid_experiment.py --data-root data/camvid \\
        --pipeline work_dirs/diffusion_camvid/pipeline --seeds 0 1 2 --out work_dirs/camvid

Every run is `configs/diff2in1_camvid.py` through MMEngine's Runner and the hook, as
`tools/train.py` runs it. Arms with the same warm-up share it: the checkpoint that the first of them
writes at the boundary is resumed by the others. Frozen features of images that come again are kept
over all runs of a process. Finished runs are not repeated; `--table` prints what there is.
"""
import argparse
import json
import os
import os.path as osp
import statistics

import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

import diff2in1_mm
from diff2in1_mm.diffusion import stable_seed
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

# What regularises the real images: channel dropout on the frozen features of every sample, and
# photometric copies of the photographs.
DROPOUT = {'model.backbone.feature_dropout': 0.5}
JITTER = dict(type='PhotometricCopies', copies=4)

# name: (what the arms of one warm-up share, what the hook does afterwards, a sentence)
ARMS = {
    'real': ('plain', dict(creation=None, momentum=1.0), 'real images only'),
    'real + EMA': ('plain', dict(creation=None), 'theta_C averages theta_E'),
    'frozen labels': ('plain', dict(targets='creation', student_view='same'),
                      'labels of synthetic images as they were created'),
    'same view': ('plain', dict(student_view='same'), 'the method as published'),
    'feature dropout': ('plain', dict(student_view='feature_dropout'),
                        'channel dropout on synthetic samples'),
    'strong real + EMA': ('strong', dict(creation=None),
                          'photometric copies, channel dropout on all samples'),
    'strong real, synthetic': ('strong', dict(student_view='same'),
                               'the last, with synthetic images under the same dropout'),
    'strong view': ('plain', dict(student_view='strong'), 'photometric view of synthetic samples'),
}
BASELINE = 'real + EMA'


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
        import numpy as np
        copy = np.random.randint(self.copies + 1)
        if copy == 0 or 'synthetic' in results['img_path']:
            return results
        state = np.random.get_state()
        np.random.seed(stable_seed(osp.basename(results['img_path']), copy) % 2 ** 32)
        results = self.distort(results)
        np.random.set_state(state)
        return results


def configure(args, arm: str, seed: int) -> Config:
    """The shipped config with the data, the pipeline and the settings of one arm."""
    family, settings, _ = ARMS[arm]
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_camvid.py'))
    options = {'model.backbone.diffusion': args.pipeline, 'randomness.seed': seed,
               'model.backbone.cached_images': 4000,
               'default_hooks.checkpoint.interval': args.warm_up + args.self_improving,
               'train_cfg.max_iters': args.warm_up + args.self_improving,
               'train_cfg.val_interval': args.warm_up + args.self_improving}
    if family == 'strong':
        options.update(DROPOUT)
        cfg.train_dataloader.dataset.dataset.pipeline.insert(3, JITTER)
    cfg.merge_from_dict(options)
    cfg.param_scheduler[-1]['end'] = args.warm_up + args.self_improving
    for loader in (cfg.train_dataloader.dataset, cfg.val_dataloader):
        loader.dataset.data_root = args.data_root
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_dataloader.dataset.dataset.update(num_labelled=args.num_labelled, seed=seed)
    hook = cfg.custom_hooks[0]
    hook.update(settings, warm_up=args.warm_up)
    if hook.creation is not None:
        hook.creation.T = args.T
    cfg.train_dataloader.dataset.store = osp.join(args.out, f'synthetic-{family}-{seed}')
    cfg.work_dir = osp.join(args.out, f'{arm.replace(" ", "_")}-{seed}')
    return cfg


def share_warm_up(args, cfg: Config, family: str, seed: int) -> str:
    """Where the warm-up of a family is kept; a config that finds it there starts behind it."""
    path = osp.join(args.out, f'warm_up-{family}-{seed}.pth')
    if osp.exists(path):
        cfg.load_from, cfg.resume = path, True
    return path


def keep_warm_up(work_dir: str, path: str, iteration: int) -> None:
    """Turn the checkpoint of the boundary into one that every arm of the family can resume."""
    checkpoint = torch.load(osp.join(work_dir, f'iter_{iteration}.pth'), weights_only=True)
    checkpoint['self_improving']['stage'] = 'warm_up'
    checkpoint.pop('theta_E', None)
    torch.save(checkpoint, f'{path}.tmp')
    os.replace(f'{path}.tmp', path)


def run(args, arm: str, seed: int, cache: FeatureCache) -> dict:
    """Train one arm and give its summary."""
    cfg = configure(args, arm, seed)
    warm_up = share_warm_up(args, cfg, ARMS[arm][0], seed)
    runner = Runner.from_cfg(cfg)
    runner.model.backbone._cache = cache
    runner.train()
    if not osp.exists(warm_up):
        keep_warm_up(cfg.work_dir, warm_up, args.warm_up)
    with open(osp.join(cfg.work_dir, 'summary.json'), encoding='utf-8') as file:
        return json.load(file)


def results(args) -> dict:
    """Summaries by arm and seed of the runs that are finished."""
    found = {}
    for arm in ARMS:
        for seed in args.seeds:
            path = osp.join(args.out, f'{arm.replace(" ", "_")}-{seed}', 'summary.json')
            if osp.exists(path):
                with open(path, encoding='utf-8') as file:
                    found.setdefault(arm, {})[seed] = json.load(file)['stages']
    return found


def table(args) -> str:
    """Markdown: every run, mean, deviation, and the paired difference to the baseline."""
    found = results(args)
    seeds = [str(seed) for seed in args.seeds]
    lines = ['| arm | ' + ' | '.join(f'seed {s}' for s in seeds)
             + f' | mean | sd | minus "{BASELINE}" |', '|---|' + '---|' * (len(seeds) + 3)]
    for family in dict.fromkeys(family for family, *_ in ARMS.values()):
        arm = next((a for a in found if ARMS[a][0] == family), None)
        if arm:
            lines.append(_row(f'warm-up ({family})', {
                s: stages['warm_up']['mIoU'] for s, stages in found[arm].items()}, args.seeds, {}))
    base = {s: stages['self_improving']['mIoU'] for s, stages in found.get(BASELINE, {}).items()}
    for arm, runs in found.items():
        scores = {s: stages['self_improving']['mIoU'] for s, stages in runs.items()}
        lines.append(_row(f'{arm}: {ARMS[arm][2]}', scores, args.seeds, base))
    return '\n'.join(lines)


def _row(name: str, scores: dict, seeds, base: dict) -> str:
    cells = [f'{scores[s]:.2f}' if s in scores else '-' for s in seeds]
    values = list(scores.values())
    deviation = f'{statistics.stdev(values):.2f}' if len(values) > 1 else '-'
    paired = [scores[s] - base[s] for s in scores if s in base]
    difference = '-'
    if paired:
        spread = f' ± {statistics.stdev(paired):.2f}' if len(paired) > 1 else ''
        difference = f'{statistics.mean(paired):+.2f}{spread}'
    return f'| {name} | ' + ' | '.join([*cells, f'{statistics.mean(values):.2f}', deviation,
                                        difference]) + ' |'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', default='data/camvid')
    parser.add_argument('--pipeline', default='work_dirs/diffusion_camvid/pipeline')
    parser.add_argument('--out', default='work_dirs/camvid_experiment')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=list(ARMS))
    parser.add_argument('--num-labelled', type=int, default=50)
    parser.add_argument('--warm-up', type=int, default=800, help='iterations')
    parser.add_argument('--self-improving', type=int, default=400, help='iterations')
    parser.add_argument('--T', type=int, default=300, help='noise step of the synthetic images')
    parser.add_argument('--table', action='store_true', help='only print the table')
    args = parser.parse_args()
    cache = FeatureCache(4000)
    for seed in [] if args.table else args.seeds:
        for arm in args.arms:
            if seed not in results(args).get(arm, {}):
                run(args, arm, seed, cache)
    print(table(args))


if __name__ == '__main__':
    main()
