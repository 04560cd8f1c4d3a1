"""No labelled photograph at all: label maps in flat colours, a test on CamVid's photographs, the arms of shift.py.

    python tools/train_diffusion.py configs/diffusion_camvid.py --amp --work-dir work_dirs/diffusion_camvid
    python benchmarks/painted_streets.py --seeds 0 1 2 3 4
    python benchmarks/painted_streets.py --seeds 0 1 2 3 4 --table

street_painter.py draws the label maps of the training folder, as a simulator with layouts from life and nothing else
would; a seed takes --num-labelled of them. The diffusion model has seen the photographs of that folder without labels,
and they are the unlabelled pictures of the controls. The test is on the validation folder, which nothing has seen. The
oracle has the photographs of the label maps. Arms have the diffusion model's frozen features, or with --backbone those
of a ResNet-18 from scratch.
"""

import argparse
import os.path as osp
from pathlib import Path

import cv2
from backbones import RESNET
from camvid_experiment import DROPOUT, JITTER
from experiment import Arm, Experiment, experiment_arguments, use_part
from mmengine.config import Config
from mmengine.registry import init_default_scope
from shift import Shift, arms, begin, set_shift
from street_painter import paint_all

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

_SIZE = (256, 192)  # width and height
_THINGS = ('pole', 'sign_symbol', 'fence', 'car', 'pedestrian', 'bicyclist')
_LEVELS = dict(default=750, **dict.fromkeys(_THINGS, 400))
_SHIFTED = arms('painted streets', 'photographs', by_class=_LEVELS, look='target', copies_per_source=4)
ARMS = {
    **{name: arm for name, arm in _SHIFTED.items() if 'the same' not in name},
    **{
        f'{name}, eight to one': _SHIFTED[name]._replace(
            text=f'the arm "{name}" with eight of nine pictures from the store',
            options={**_SHIFTED[name].options, 'train_dataloader.dataset.ratio': 8.0},
        )
        for name in (
            'recoloured, synthetic',
            'recoloured, by class',
            'recoloured, both',
            'grainy, synthetic',
            'grainy, sure target pictures',
            'grainy, both',
        )
    },
    'photographs': Arm('oracle', dict(creation=None), 'oracle: the photographs of the label maps'),
}
_AUGMENTED = [
    dict(type='RandomResize', scale=_SIZE, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=_SIZE[::-1], cat_max_ratio=0.75),
    dict(type='PhotoMetricDistortion'),
]


def prepare(args: argparse.Namespace) -> None:
    """Paint the label maps, and make small copies of the unlabelled photographs."""
    paint_all(args.data_root, osp.join(args.out, 'painted'), _SIZE)
    small = Path(args.out, 'photographs')
    small.mkdir(exist_ok=True)
    for path in sorted(Path(args.data_root, 'images/train').glob('*.jpg')):
        if not (small / f'{path.stem}.png').exists():
            image = cv2.resize(cv2.imread(str(path)), _SIZE, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(small / f'{path.stem}.png'), image)


def configure(args: argparse.Namespace, arm: Arm, seed: int, shift: Shift) -> Config:
    """The shipped config with painted streets in the place of labelled photographs."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_camvid.py'))
    data = cfg.train_dataloader.dataset.dataset
    if args.backbone is None:
        data.pipeline.insert(3, JITTER)
        cfg.merge_from_dict(
            {'model.backbone.diffusion': args.pipeline, 'model.backbone.cached_images': 4000, **DROPOUT}
        )
    else:
        use_resnet(cfg)
    cfg.merge_from_dict({'randomness.seed': seed})
    use_part(cfg, args, arm, seed)
    if args.backbone is not None and cfg.custom_hooks[0].creation is not None:
        cfg.custom_hooks[0].creation.diffusion = args.pipeline
    cfg.merge_from_dict(arm.options)  # levels of noise of an arm's own
    oracle = arm.family == 'oracle'
    set_shift(cfg, arm._replace(family='recoloured') if oracle else arm, shift, args.copies)
    if not oracle:
        data.data_root = osp.join(args.out, 'painted')
    return cfg


def use_resnet(cfg: Config) -> None:
    """Put a ResNet-18 from scratch in the place of the features, with crops and distortion, in bfloat16."""
    head = dict(in_channels=[64] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32])
    cfg.merge_from_dict(
        {
            'model.backbone': RESNET,
            'model.neck': dict(in_channels=[64, 128, 256, 512], num_outs=4),
            'model.decode_head': head,
            'optim_wrapper.type': 'Bf16OptimWrapper',
        }
    )
    cfg.train_dataloader.dataset.dataset.pipeline[3:3] = [dict(step) for step in _AUGMENTED]


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/camvid',
        pipeline='work_dirs/diffusion_camvid/pipeline',
        out='work_dirs/painted_streets',
        num_labelled=50,
        warm_up=400,
        self_improving=250,
        T=600,
    )
    parser.add_argument('--copies', type=int, default=4, help='colours that a painted street comes in')
    parser.add_argument('--backbone', choices=['ResNet-18'], help='from scratch; default: frozen features')
    args = parser.parse_args()
    init_default_scope('mmseg')
    places = begin(args, 'photographs', prepare)
    runs = Experiment(
        args.out,
        ARMS,
        'recoloured',
        'mIoU',
        lambda arm, seed: configure(args, arm, seed, places),
        args.warm_up,
        cache=None if args.backbone else FeatureCache(4000),
    )
    if not args.table:
        runs.run(args.arms, args.seeds)  # what is finished is not run again
    print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
