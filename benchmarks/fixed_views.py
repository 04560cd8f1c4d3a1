"""What does keeping frozen features cost in mIoU? Fresh views in every epoch against eight that come again, on Rooms.

    python benchmarks/fixed_views.py --seeds 0 1 2
    python benchmarks/fixed_views.py --seeds 0 1 2 --table

Real images alone under MMSegmentation's augmentation (scale, crop, flip, colours). Kept maps are on disk as float16 or
with eight bits and a scale for each channel of an image; those of a cache that holds every view are what is read.
"""

import argparse
import os.path as osp

from backbones import AUGMENTED
from experiment import Arm, Experiment, experiment_arguments, keep_settings, set_lengths
from mmengine.config import Config
from mmengine.registry import init_default_scope

import diff2in1_mm

#: The views of an image, and how its maps are kept.
KEPT = {'fresh': (None, None), '8 views': (8, 'fp16'), '8 views, int8': (8, 'int8'), '2 views': (2, 'fp16')}
ARMS = {
    name: Arm(
        name,
        dict(creation=None),
        'new views in every epoch' if views is None else f'{views} views of each image, {dtype}',
    )
    for name, (views, dtype) in KEPT.items()
}


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The shipped config with views of one kind."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py'))
    views, dtype = KEPT[arm.family]
    cfg.model.backbone.update(diffusion=args.pipeline, feature_dropout=0.2, cached_images=0)
    mixed = cfg.train_dataloader.dataset
    if views is not None:
        cfg.model.backbone.feature_cache = dict(folder=osp.join(args.out, f'maps-{views}-{dtype}'), dtype=dtype)
        mixed.views = views
    load, pack = mixed.dataset.pipeline[:2], mixed.dataset.pipeline[-1:]
    mixed.dataset.pipeline = [*load, *AUGMENTED, *pack]
    mixed.dataset.update(num_labelled=args.num_labelled, seed=seed, data_root=args.data_root)
    cfg.val_dataloader.dataset.data_root = args.data_root
    cfg.test_dataloader = cfg.val_dataloader
    cfg.randomness.seed = seed
    set_lengths(cfg, args.warm_up, args.self_improving)
    cfg.custom_hooks[0].update(arm.hook)
    return cfg


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/rooms',
        pipeline='diff2in1_mm/rooms',
        out='work_dirs/fixed_views',
        num_labelled=100,
        warm_up=400,
        self_improving=200,
    )
    args = parser.parse_args()
    args.out = osp.abspath(args.out)
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmseg')
    runs = Experiment(args.out, ARMS, 'fresh', 'mIoU', lambda arm, seed: configure(args, arm, seed), args.warm_up)
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(runs.table(args.seeds))
    for name in ARMS:
        seconds = [runs.seconds(name, seed) for seed in args.seeds if runs.summary(name, seed)]
        if seconds:
            print(f'{name}: {sum(seconds) / len(seconds):.0f} seconds of a training')


if __name__ == '__main__':
    main()
