"""What do frozen features of a diffusion model give over the backbones that a user has? Rooms, equal steps and heads.

    python benchmarks/backbones.py --seeds 0 1 2                   # every backbone with 10, 50 and all 200 labels
    python benchmarks/backbones.py --seeds 0 1 2 --table           # the tables again

All arms have the FPN neck and head, losses, batches and schedule of configs/diff2in1_rooms.py, and no synthetic images.
"""

import argparse
import copy
import os.path as osp

from experiment import Arm, Experiment, experiment_arguments, keep_settings, set_lengths
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

# Trained from scratch: what MMSegmentation's own configs do to images, within the size of the rooms.
AUGMENTED = [
    dict(type='RandomResize', scale=(128, 128), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
]
BESIDE = dict(type='ResNet', depth=18, norm_cfg=dict(type='BN'), norm_eval=False)
RESNET = dict(_delete_=True, **BESIDE)
SEGFORMER = dict(
    _delete_=True,
    type='MixVisionTransformer',
    embed_dims=32,
    num_layers=[2, 2, 2, 2],
    num_heads=[1, 2, 5, 8],
    patch_sizes=[7, 3, 3, 3],
    sr_ratios=[8, 4, 2, 1],
    mlp_ratio=4,
    qkv_bias=True,
    drop_path_rate=0.1,
)


def _arm(name: str, text: str, backbone: dict, channels: list[int], lr: float, **options) -> Arm:
    """An arm with a backbone of its own; each is a family, since none shares a warm-up."""
    changes = {'model.backbone': backbone, 'model.neck.in_channels': channels, 'optim_wrapper.optimizer.lr': lr}
    return Arm(name, dict(creation=None), text, {**changes, **options})


def _frozen(name: str, text: str, **backbone) -> Arm:
    """An arm whose features are frozen, or are so beside others that are trained."""
    return Arm(name, dict(creation=None), text, {f'model.backbone.{key}': value for key, value in backbone.items()})


ARMS = {
    'diffusion': _frozen('diffusion', 'frozen features of the diffusion model of Rooms'),
    'three levels': _frozen('three levels', 'the same of three levels of noise', timestep=[1, 100, 300]),
    'twice the size': _frozen(
        'twice the size', 'the same of images at twice their size', image_scale=2, out_strides=[4, 8, 16, 32]
    ),
    'joined': _frozen(
        'joined', '"diffusion" and "resnet18", their maps concatenated', type='JoinedBackbone', beside=BESIDE
    ),
    'resnet18': _arm('resnet18', 'ResNet-18 from scratch', RESNET, [64, 128, 256, 512], 1e-3),
    'segformer': _arm('segformer', "SegFormer-B0's backbone from scratch", SEGFORMER, [32, 64, 160, 256], 1e-3),
}
BASELINE = 'resnet18'
NUM_LABELLED = (10, 50, 200)


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The shipped config with another backbone, on so many labels; half of the steps are the hook's warm-up."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py'))
    labelled = cfg.train_dataloader.dataset.dataset
    frozen = 'model.backbone' not in arm.options
    if frozen:
        cfg.model.backbone.update(diffusion=args.pipeline, feature_dropout=0.2, cached_images=args.cached_images)
        labelled.pipeline.insert(2, dict(type='PhotometricCopies', copies=4))
    else:
        load, pack = labelled.pipeline[:2], labelled.pipeline[-1:]
        labelled.pipeline = [*load, *AUGMENTED, *pack]
    cfg.merge_from_dict(arm.options)
    if frozen:
        cfg.model.neck.in_channels = list(MODELS.build(cfg.model.backbone).out_channels)
    if arm.family == 'joined':
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.beside': dict(lr_mult=1 / 3)})  # as "resnet18"
    if args.lr:
        cfg.optim_wrapper.optimizer.lr = args.lr
    cfg.randomness.seed = seed
    set_lengths(cfg, args.warm_up, args.self_improving)
    labelled = cfg.train_dataloader.dataset.dataset  # looked up anew: merging copies
    labelled.update(num_labelled=args.num_labelled, seed=seed, data_root=args.data_root)
    cfg.val_dataloader.dataset.data_root = args.data_root
    cfg.test_dataloader = cfg.val_dataloader
    cfg.custom_hooks[0].update(arm.hook)
    return cfg


def experiment(args: argparse.Namespace, num_labelled: int, cache: FeatureCache | None = None) -> Experiment:
    """The runs with one number of labels."""
    own = copy.copy(args)
    own.num_labelled = num_labelled
    out = osp.join(args.out, f'{num_labelled}-labels')
    return Experiment(
        out, ARMS, BASELINE, 'mIoU', lambda arm, seed: configure(own, arm, seed), own.warm_up, cache=cache
    )


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/rooms',
        pipeline='diff2in1_mm/rooms',
        out='work_dirs/backbones',
        warm_up=400,
        self_improving=200,
    )
    parser.add_argument('--labels', type=int, nargs='+', default=NUM_LABELLED, help='numbers of labelled rooms')
    parser.add_argument('--lr', type=float, help='of all arms, in place of their own; give another --out')
    parser.add_argument('--cached-images', type=int, default=6000, help='whose frozen features are kept in memory')
    args = parser.parse_args()
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmseg')
    for name in [] if args.table else args.arms:
        cache = FeatureCache(args.cached_images)  # pixels are its keys: features of one arm
        for num_labelled in args.labels:
            experiment(args, num_labelled, cache).run([name], args.seeds)
    for num_labelled in args.labels:
        print(f'\n{num_labelled} labelled rooms\n\n{experiment(args, num_labelled).table(args.seeds)}')


if __name__ == '__main__':
    main()
