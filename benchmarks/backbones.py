"""What do frozen features of a diffusion model give over the backbones that a user has? Equal steps and heads.

    python benchmarks/backbones.py --seeds 0 1 2                   # Rooms: frozen and ResNet-18; 10, 50 and 200 labels
    python benchmarks/backbones.py --seeds 0 1 2 --table           # the tables again
    python benchmarks/backbones.py --world camvid --pretrained work_dirs/densecl.pth \\
        --arms diffusion resnet18 'resnet18, pretrained'           # weights of self_supervised.py
    python benchmarks/backbones.py --world bccd --pretrained torchvision://resnet18 --arms 'resnet18, pretrained'

All arms have neck, head, losses, batches and schedule of the world's shipped config, and no synthetic images.
"""

import argparse
import copy
import os.path as osp
from typing import Any, NamedTuple

from experiment import Arm, Experiment, experiment_arguments, keep_settings, set_lengths
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

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


class World(NamedTuple):
    """Data that backbones are compared on.

    Attributes:
        config (str): A shipped config.
        data_root (str): Its usual place.
        pipeline (str): The diffusion model that has seen the world's unlabelled pictures.
        labels (tuple): Numbers of labelled images.
        metric (str): Key of the summary's stages, in percent after ``scale``.
        scale (float): What the metric is multiplied by.
        augmented (list): Transforms of what is trained from scratch, in the place of the config's own.
        regularised (tuple): Of frozen features: transform of the images, options of the backbone.
    """

    config: str
    data_root: str
    pipeline: str
    labels: tuple
    metric: str
    scale: float
    augmented: list[dict]
    regularised: tuple[dict | None, dict]


def augmented(size: tuple[int, int], **crop: Any) -> list[dict]:
    """Random scale, crop of (width, height), flip and distortion of colours."""
    return [
        dict(type='RandomResize', scale=size, ratio_range=(0.75, 1.5), keep_ratio=True),
        dict(type='RandomCrop', crop_size=size[::-1], **crop),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
    ]


AUGMENTED = augmented((128, 128), cat_max_ratio=0.75)  # Rooms
_COPIES = dict(type='PhotometricCopies', copies=4)
WORLDS = {
    'rooms': World(
        'diff2in1_rooms.py',
        'data/rooms',
        'diff2in1_mm/rooms',
        (10, 50, 200),
        'mIoU',
        1.0,
        AUGMENTED,
        (_COPIES, dict(feature_dropout=0.2)),
    ),
    # Copies and dropout cost frozen features two points here (docs/results.md).
    'camvid': World(
        'diff2in1_camvid.py',
        'data/camvid',
        'work_dirs/diffusion_camvid/pipeline',
        (10, 50, 367),
        'mIoU',
        1.0,
        augmented((256, 192), cat_max_ratio=0.75),
        (None, {}),
    ),
    'bccd': World(
        'diff2in1_bccd.py',
        'data/bccd',
        'work_dirs/diffusion_bccd/pipeline',
        (10, 50, 205),
        'coco/bbox_mAP',
        100.0,
        augmented((320, 240), allow_negative_crop=True),
        (None, dict(feature_dropout=0.5)),
    ),
}


def _arm(name: str, text: str, backbone: dict, channels: list[int], **options) -> Arm:
    """An arm with a backbone of its own, maps at strides 4 to 32; a family, since none shares a warm-up."""
    changes = {'model.backbone': backbone, 'model.neck': dict(in_channels=channels, num_outs=4)}
    return Arm(name, dict(creation=None), text, {**changes, 'optim_wrapper.optimizer.lr': 1e-3, **options})


def _frozen(name: str, text: str, **backbone) -> Arm:
    """An arm whose features are frozen, or are so beside others that are trained."""
    return Arm(name, dict(creation=None), text, {f'model.backbone.{key}': value for key, value in backbone.items()})


ARMS = {
    'diffusion': _frozen('diffusion', "frozen features of the world's diffusion model"),
    'three levels': _frozen('three levels', 'the same of three levels of noise', timestep=[1, 100, 300]),
    'twice the size': _frozen(
        'twice the size', 'the same of images at twice their size', image_scale=2, out_strides=[4, 8, 16, 32]
    ),
    'trained': _frozen(
        'trained', 'the same, its U-Net trained along at a tenth of the rate, augmented as "resnet18"', train='full'
    ),
    'joined': _frozen(
        'joined', '"diffusion" and "resnet18", their maps concatenated', type='JoinedBackbone', beside=BESIDE
    ),
    'resnet18': _arm('resnet18', 'ResNet-18 from scratch', RESNET, [64, 128, 256, 512]),
    'resnet18, pretrained': _arm('pretrained', 'ResNet-18, weights of --pretrained', RESNET, [64, 128, 256, 512]),
    'joined, pretrained': _frozen(
        'joined, pretrained', '"diffusion" beside "resnet18, pretrained"', type='JoinedBackbone', beside=BESIDE
    ),
    'segformer': _arm('segformer', "SegFormer-B0's backbone from scratch", SEGFORMER, [32, 64, 160, 256]),
}
BASELINE = 'resnet18'


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The shipped config with another backbone, on so many labels; half of the steps are the hook's warm-up."""
    world = WORLDS[args.world]
    cfg = Config.fromfile(diff2in1_mm.config_path(world.config))
    cfg.custom_hooks = cfg.custom_hooks[:1]
    if 'model.backbone' in arm.options:
        _use_own(cfg, world, arm)
    else:
        _use_frozen(cfg, world, arm, args)
    if arm.family.endswith('pretrained'):
        body = cfg.model.backbone.get('beside', cfg.model.backbone)
        body.init_cfg = dict(type='Pretrained', checkpoint=args.pretrained)
    cfg.merge_from_dict({'randomness.seed': seed, 'optim_wrapper.type': args.optim_wrapper})
    if args.lr:
        cfg.optim_wrapper.optimizer.lr = args.lr
    set_lengths(cfg, args.warm_up, args.self_improving)
    labelled = cfg.train_dataloader.dataset.dataset  # looked up anew: merging copies
    labelled.update(num_labelled=args.num_labelled, seed=seed, data_root=args.data_root)
    usual, cfg.val_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root, args.data_root
    if 'ann_file' in cfg.val_evaluator:
        cfg.val_evaluator.ann_file = cfg.val_evaluator.ann_file.replace(usual, args.data_root, 1)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.custom_hooks[0].update(arm.hook)
    return cfg


def _use_own(cfg: Config, world: World, arm: Arm) -> None:
    """Put a backbone that is trained into a config, with the augmentation that it needs."""
    _augment(cfg, world)
    cfg.merge_from_dict(arm.options)
    if 'decode_head' in cfg.model:
        width = cfg.model.decode_head.channels
        cfg.model.decode_head.update(in_channels=[width] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32])


def _augment(cfg: Config, world: World) -> None:
    data = cfg.train_dataloader.dataset.dataset
    data.pipeline = [*data.pipeline[:2], *(dict(step) for step in world.augmented), data.pipeline[-1]]


def _use_frozen(cfg: Config, world: World, arm: Arm, args: argparse.Namespace) -> None:
    """The diffusion model's features, alone or beside a backbone that is trained."""
    transform, options = world.regularised
    data = cfg.train_dataloader.dataset.dataset
    if transform is not None:
        data.pipeline.insert(2, dict(transform))
    cfg.model.backbone.update(diffusion=args.pipeline, cached_images=args.cached_images, **options)
    cfg.merge_from_dict(arm.options)
    maps = len(cfg.model.neck.in_channels)
    if 'train' in cfg.model.backbone:
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.denoiser': dict(lr_mult=0.1)})  # as VPD has it
        cfg.model.backbone.cached_images = 0
        _augment(cfg, world)
    if 'beside' in cfg.model.backbone:
        cfg.model.backbone.beside.out_indices = tuple(range(maps))
        # as fast as "resnet18"
        slower = 1e-3 / cfg.optim_wrapper.optimizer.lr
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.beside': dict(lr_mult=slower)})
    cfg.model.neck.in_channels = list(MODELS.build(cfg.model.backbone).out_channels)


def experiment(args: argparse.Namespace, num_labelled: int, cache: FeatureCache | None = None) -> Experiment:
    """The runs with one number of labels."""
    own = copy.copy(args)
    own.num_labelled = num_labelled
    world = WORLDS[args.world]
    return Experiment(
        osp.join(args.out, f'{num_labelled}-labels'),
        ARMS,
        BASELINE,
        world.metric,
        lambda arm, seed: configure(own, arm, seed),
        own.warm_up,
        cache=cache,
        scale=world.scale,
    )


def arguments() -> argparse.Namespace:
    """The options of a call, with what the world says where they are not given.

    Raises:
        SystemExit: An arm needs weights, and none are given.
    """
    parser = experiment_arguments(__doc__, ARMS, warm_up=400, self_improving=200)
    parser.add_argument('--world', choices=list(WORLDS), default='rooms')
    parser.add_argument('--labels', type=int, nargs='+', help='numbers of labelled images')
    parser.add_argument('--lr', type=float, help='of all arms, in place of their own; give another --out')
    parser.add_argument('--cached-images', type=int, default=6000, help='whose frozen features are kept in memory')
    parser.add_argument('--pretrained', help="weights of ResNet-18 in torchvision's names: a file, or a hub's address")
    parser.add_argument(
        '--optim-wrapper', default='OptimWrapper', help="'Bf16OptimWrapper': half the time on many CPUs"
    )
    parser.set_defaults(arms=['diffusion', 'resnet18'])
    args = parser.parse_args()
    world = WORLDS[args.world]
    args.data_root, args.pipeline = args.data_root or world.data_root, args.pipeline or world.pipeline
    args.labels = args.labels or list(world.labels)
    args.out = args.out or f'work_dirs/backbones_{args.world}'
    if args.pretrained is None and any(name.endswith('pretrained') for name in args.arms) and not args.table:
        raise SystemExit(
            '--pretrained is needed: what benchmarks/self_supervised.py has written, or torchvision://resnet18'
        )
    return args


def main() -> None:
    args = arguments()
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmdet' if args.world == 'bccd' else 'mmseg')
    for name in [] if args.table else args.arms:
        cache = FeatureCache(args.cached_images)  # pixels are its keys: features of one arm
        for num_labelled in args.labels:
            experiment(args, num_labelled, cache).run([name], args.seeds)
    for num_labelled in args.labels:
        print(f'\n{num_labelled} labelled images\n\n{experiment(args, num_labelled).table(args.seeds)}')


if __name__ == '__main__':
    main()
