"""Can a model on frozen diffusion features teach one with a backbone of its own, by synthetic images? Rooms.

    python benchmarks/taught_backbones.py --seeds 0 1 2 3 4           # hours of two cores
    python benchmarks/taught_backbones.py --seeds 0 1 2 3 4 --table

The teacher is the config of the package on the labelled rooms alone. It labels synthetic images of these rooms, made by
tools/create_data.py at several strengths; the student, a backbone from scratch with MMSegmentation's own augmentation,
trains on real and synthetic images as they are in the store. Controls have the same steps and numbers of images. "New
rooms" are unlabelled pictures of the world, labelled by the same teacher: what who has such pictures would do.
"""

import argparse
import copy
import os
import os.path as osp
import subprocess
import sys
from pathlib import Path

import rooms_experiment as rooms
from experiment import Arm, Experiment, keep_settings
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_backbones import BACKBONES, use_backbone

_REAL = dict(creation=None)
_DATA = 'train_dataloader.dataset'
_VARIANTS = {f'{_DATA}.dataset.pipeline.0.variants': 32}


def _taught(by: str) -> dict:
    """Options of an arm that is served a store from its start."""
    return {f'{_DATA}.store': by, f'{_DATA}.round': 0, **rooms._TWICE}


ARMS = {
    'real': Arm('real', _REAL, 'real images'),
    'more real': Arm('more real', _REAL, 'the last, batches as large as with synthetic samples', rooms._TWICE),
    'pasted': Arm(
        'pasted', _REAL, '"more real", furniture of other rooms pasted in, 32 variants', _VARIANTS | rooms._TWICE
    ),
    'taught': Arm('taught', _REAL, 'real images, and synthetic ones labelled by the teacher', _taught('synthetic')),
    'taught, pasted': Arm(
        'pasted, taught', _REAL, 'the last, furniture pasted into both', _VARIANTS | _taught('synthetic')
    ),
    'new rooms': Arm('new rooms', _REAL, 'real images, and unlabelled new ones of the teacher', _taught('new')),
}


def teacher(args: argparse.Namespace, seed: int) -> str:
    """Checkpoint of the model on frozen features."""
    own = argparse.Namespace(**{**vars(args), 'dropout': rooms.CENTRE['dropout']})
    runs = Experiment(
        osp.join(args.out, 'teacher'),
        rooms.ARMS,
        'regularised',
        'mIoU',
        lambda arm, number: rooms.configure(own, arm, number),
        own.warm_up,
    )
    runs.run(['regularised'], [seed])
    print(f'the teacher of seed {seed}: {runs.scores("regularised", [seed])[seed]:.2f} mIoU')
    return osp.join(runs.folder('regularised', seed), f'iter_{args.warm_up + args.self_improving}.pth')


def store(args: argparse.Namespace, kind: str, seed: int) -> str:
    """Folder of what the teacher has labelled; made where it is not there."""
    folder = osp.join(args.out, f'{kind}-{seed}')
    if osp.exists(osp.join(folder, 'finished')):
        return folder
    benchmarks = Path(__file__).resolve().parent
    data, creation = f'{_DATA}.dataset', 'custom_hooks.0.creation'
    options = [
        f'{data}.data_root={osp.abspath(args.data_root)}',
        f'{data}.num_labelled={args.num_labelled}',
        f'{data}.seed={seed}',
        f'model.backbone.diffusion={args.pipeline}',
        'custom_imports.imports=[fresh_rooms]',
    ]
    if kind == 'new':
        options.append(f'{creation}.generator=FreshRooms')
    strengths = [str(T) for T in args.strengths]
    command = [sys.executable, 'tools/create_data.py', 'configs/diff2in1_rooms.py', teacher(args, seed)]
    command += ['--out', folder, '--T', *strengths, '--copies', str(args.made), '--cfg-options', *options]
    paths = [str(benchmarks), str(benchmarks.parent), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    subprocess.run(command, check=True, cwd=benchmarks.parent, env=environment)
    Path(folder, 'finished').touch()
    return folder


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The configuration of a student."""
    own = copy.copy(args)
    own.warm_up, own.self_improving = args.iterations * 2 // 3, args.iterations - args.iterations * 2 // 3
    cfg = rooms.configure(own, arm, seed)
    use_backbone(cfg, args.backbone, args.pipeline)
    data = cfg.train_dataloader.dataset
    if data.get('store'):
        data.store = store(args, data.store, seed)
    return cfg


def main() -> None:
    parser = rooms.rooms_arguments(__doc__, ARMS, out='work_dirs/taught_backbones', cached_images=2000, dropout=0.0)
    parser.add_argument('--backbone', choices=list(BACKBONES), default='ResNet-18')
    parser.add_argument('--iterations', type=int, default=900, help='of a student')
    parser.add_argument('--made', type=int, default=4, help='samples of each labelled room')
    parser.add_argument('--strengths', type=int, nargs='+', default=[400, 600, 800], help='each sample draws one')
    args = parser.parse_args()
    args.out = osp.abspath(args.out)
    if not args.table:
        keep_settings(args.out, args)
    init_default_scope('mmseg')
    runs = Experiment(
        args.out, ARMS, 'more real', 'mIoU', lambda arm, seed: configure(args, arm, seed), args.iterations * 2 // 3
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
