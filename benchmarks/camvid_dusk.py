"""Labels by day, a test at dusk, on photographs: CamVid's sequence 0001TP, the arms of shift.py.

    python tools/train_diffusion.py configs/diffusion_camvid.py --amp --work-dir work_dirs/diffusion_camvid
    python benchmarks/camvid_dusk.py --seeds 0 1 2
    python benchmarks/camvid_dusk.py --seeds 0 1 2 --table

Labels are of frames of the sequences 0006R0 and 0016E5 in the training folder. The first half of 0001TP's frames there
are the unlabelled pictures of the dusk, the test is on the second half. The diffusion model has seen all frames of the
training folder without labels. The oracle has labels of the first half, beside those of the day.
"""

import argparse
import os.path as osp
from pathlib import Path

import cv2
from camvid_experiment import DROPOUT, JITTER
from experiment import Arm, Experiment, experiment_arguments, use_part
from mmengine.config import Config
from mmengine.registry import init_default_scope
from shift import Shift, arms, begin, set_shift

import diff2in1_mm
from diff2in1_mm.models.backbones.feature_cache import FeatureCache

_DUSK = '0001TP'
_SIZE = (256, 192)  # width and height of what is created
_LEVELS = dict(default=600, **dict.fromkeys(('pole', 'sign_symbol', 'fence', 'car', 'pedestrian', 'bicyclist'), 300))
ARMS = {
    **{
        name: arm
        for name, arm in arms('days', 'dusks', by_class=_LEVELS, look='target').items()
        if 'the same' not in name
    },
    'labelled dusks': Arm('oracle', dict(creation=None), 'oracle: "recoloured", and labelled frames of the dusk'),
}


def split(data_root: str, out: str) -> None:
    """Links to the frames in day, dusk and test below a folder; small copies of those of the dusk in small."""
    frames = sorted(Path(data_root, 'images/train').glob('*.jpg'))
    dusk = [frame for frame in frames if frame.name.startswith(_DUSK)]
    half = len(dusk) // 2
    parts = {'day': [f for f in frames if f not in dusk], 'dusk': dusk[:half], 'test': dusk[half:]}
    for part, files in parts.items():
        for frame in files:
            label = Path(data_root, 'annotations/train', f'{frame.stem}.png')
            for source, kind in ((frame, 'images'), (label, 'annotations')):
                link = Path(out, part, kind, 'train', source.name)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(source.resolve())
    small = Path(out, 'small')
    small.mkdir(exist_ok=True)
    for frame in parts['dusk']:
        image = cv2.resize(cv2.imread(str(frame)), _SIZE, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(small / f'{frame.stem}.png'), image)


def configure(args: argparse.Namespace, arm: Arm, seed: int, shift: Shift) -> Config:
    """The shipped config with labels of the day and the test at dusk."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_camvid.py'))
    options = {'model.backbone.diffusion': args.pipeline, 'randomness.seed': seed, 'model.backbone.cached_images': 4000}
    cfg.train_dataloader.dataset.dataset.pipeline.insert(3, JITTER)
    cfg.merge_from_dict({**options, **DROPOUT})
    own = argparse.Namespace(**{**vars(args), 'data_root': osp.join(args.out, 'data/day')})
    use_part(cfg, own, arm, seed)
    cfg.merge_from_dict(arm.options)  # levels of noise of an arm's own
    cfg.val_dataloader.dataset.update(
        data_root=osp.join(args.out, 'data/test'),
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
    )
    cfg.train_dataloader.batch_size = 16  # of all arms, in both stages
    oracle = arm.family == 'oracle'
    set_shift(cfg, arm._replace(family='recoloured') if oracle else arm, shift, args.copies)
    if oracle:
        mixed = cfg.train_dataloader.dataset
        day = mixed.dataset.to_dict()
        dusk = {**day, 'data_root': osp.join(args.out, 'data/dusk'), 'num_labelled': None}
        mixed.dataset = dict(type='ConcatDataset', datasets=[day, dusk])
    return cfg


def main() -> None:
    parser = experiment_arguments(
        __doc__,
        ARMS,
        data_root='data/camvid',
        pipeline='work_dirs/diffusion_camvid/pipeline',
        out='work_dirs/camvid_dusk',
        num_labelled=50,
        warm_up=400,
        self_improving=200,
        T=300,
    )
    parser.add_argument('--copies', type=int, default=4, help='colours that a labelled frame comes in')
    args = parser.parse_args()
    init_default_scope('mmseg')
    places = begin(args, 'data/small', lambda args: split(args.data_root, osp.join(args.out, 'data')))
    runs = Experiment(
        args.out,
        ARMS,
        'recoloured',
        'mIoU',
        lambda arm, seed: configure(args, arm, seed, places),
        args.warm_up,
        cache=FeatureCache(4000),
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
