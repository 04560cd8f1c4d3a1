"""No labelled photograph at all: boxes of drawn blood cells, a test on BCCD's photographs, the arms of shift.py.

    python tools/train_diffusion.py configs/diffusion_bccd.py --amp --work-dir work_dirs/diffusion_bccd
    python benchmarks/simulated_cells.py --seeds 0 1 2 3 4
    python benchmarks/simulated_cells.py --seeds 0 1 2 3 4 --table
    python benchmarks/simulated_cells.py --seeds 0 1 2 3 4 --backbone ResNet-18 --warm-up 400 --self-improving 300

cell_simulator.py draws the pictures with labels. The diffusion model has seen BCCD's 205 training photographs without
their boxes, and they are the unlabelled pictures of the controls; the test is on the 87 of the validation. The oracle
has boxes of as many photographs as there are drawn pictures in an arm. Arms have the diffusion model's frozen features,
or with --backbone one from scratch.
"""

import argparse
import os.path as osp
from pathlib import Path

import cell_simulator
import cv2
from experiment import Arm, Experiment, experiment_arguments, use_part
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_backbones import BACKBONES
from shift import Shift, arms, begin, set_shift

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache
from diff2in1_mm.utils.json_files import read_json

ARMS = {
    **{
        name: arm
        for name, arm in arms('drawn cells', 'photographs', copies_per_source=2, look='target').items()
        if 'the same' not in name
    },
    'photographs': Arm('oracle', dict(creation=None), 'oracle: as many photographs with their boxes'),
}
_METRICS = ('coco/bbox_mAP', 'coco/bbox_mAP_50')


def prepare(args: argparse.Namespace) -> None:
    """Draw the cells, and make small copies of the unlabelled photographs."""
    drawn = osp.join(args.out, 'drawn')
    if not osp.exists(osp.join(drawn, 'annotations/train.json')):
        cell_simulator.write(drawn, args.drawn)
    small = Path(args.out, 'photographs')
    small.mkdir(exist_ok=True)
    found = read_json(osp.join(args.data_root, 'annotations/train.json'), lambda content: 'images' in content, '')
    for image in found['images']:
        path = small / f'{Path(image["file_name"]).stem}.png'
        if not path.exists():
            photograph = cv2.imread(osp.join(args.data_root, 'images', image['file_name']))
            height, width = cell_simulator.SIZE
            cv2.imwrite(str(path), cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA))


def configure(args: argparse.Namespace, arm: Arm, seed: int, shift: Shift) -> Config:
    """The shipped config of BCCD with drawn cells in the place of labelled photographs."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_bccd.py'))
    options = {'model.backbone.diffusion': args.pipeline, 'randomness.seed': seed, 'model.backbone.cached_images': 4000}
    cfg.train_dataloader.dataset.dataset.pipeline.insert(3, dict(type='PhotometricCopies', copies=args.copies))
    cfg.custom_hooks = cfg.custom_hooks[:1]
    cfg.merge_from_dict({**options, 'model.backbone.feature_dropout': 0.5})
    use_part(cfg, args, arm, seed)
    if args.backbone is not None:
        use_backbone(cfg, args.backbone, args.pipeline)
    cfg.merge_from_dict(arm.options)  # levels of noise of an arm's own
    cfg.val_evaluator.ann_file = osp.join(args.data_root, 'annotations/val.json')
    cfg.test_evaluator = cfg.val_evaluator
    oracle = arm.family == 'oracle'
    set_shift(cfg, arm._replace(family='strong') if oracle else arm, shift, args.copies)
    if not oracle:
        cfg.train_dataloader.dataset.dataset.data_root = osp.join(args.out, 'drawn')
    return cfg


def use_backbone(cfg: Config, name: str, pipeline: str) -> None:
    """Put a backbone from scratch in the place of the features, at half the size, with crops as well as flips; the
    diffusion model's folder is what creates."""
    body, channels = BACKBONES[name]
    cfg.merge_from_dict({'model.backbone': body, 'model.neck.in_channels': channels[:3]})
    cfg.model.backbone.out_indices = (0, 1, 2)
    height, width = (side // 2 for side in cell_simulator.SIZE)
    data = cfg.train_dataloader.dataset.dataset
    data.pipeline[2] = dict(type='RandomResize', scale=(width, height), ratio_range=(0.75, 1.5), keep_ratio=True)
    data.pipeline.insert(-1, dict(type='RandomCrop', crop_size=(height, width), allow_negative_crop=True))
    cfg.val_dataloader.dataset.pipeline[1].scale = (width, height)
    creation = cfg.custom_hooks[0].creation
    if creation is not None:
        creation.diffusion = pipeline


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/bccd',
        pipeline='work_dirs/diffusion_bccd/pipeline',
        out='work_dirs/simulated_cells',
        num_labelled=100,
        warm_up=200,
        self_improving=150,
        T=500,
    )
    parser.add_argument('--drawn', type=int, default=500, help='pictures; each seed draws --num-labelled of them')
    parser.add_argument('--backbone', choices=['ResNet-18'], help='from scratch; default: frozen features')
    parser.add_argument('--copies', type=int, default=4, help='colours that a labelled picture comes in')
    args = parser.parse_args()
    init_default_scope('mmdet')
    places = begin(args, 'photographs', prepare)
    cache = None if args.backbone else FeatureCache(4000)
    for metric in _METRICS:
        runs = Experiment(
            args.out,
            ARMS,
            'recoloured',
            metric,
            lambda arm, seed: configure(args, arm, seed, places),
            args.warm_up,
            cache=cache,
            scale=100,
        )
        if not args.table:
            runs.run(args.arms, args.seeds)  # what is finished is not run again
        print(f'\n{metric}\n\n{runs.table(args.seeds)}')


if __name__ == '__main__':
    main()
