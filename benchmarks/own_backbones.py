"""Do synthetic images help a model that keeps its own backbone? Three of them from scratch, on Rooms; and the memory.

    python benchmarks/own_backbones.py --seeds 0 1 2
    python benchmarks/own_backbones.py --seeds 0 1 2 --table
    python benchmarks/own_backbones.py --memory            # of a process that trains, with and without the method
    python benchmarks/own_backbones.py --memory --pixels 512

Arms are those of rooms_experiment.py, with the augmentation that MMSegmentation's own configs have; the diffusion model
of Rooms is in memory for the creation alone.
"""

import argparse
import os
import os.path as osp
import subprocess
import sys
from collections.abc import Sequence

import rooms_experiment as rooms
from backbones import AUGMENTED, RESNET, SEGFORMER
from experiment import Arm, Experiment
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner
from peak_memory import forget, peak

from diff2in1_mm.comparison.table import row

MOBILENET = dict(_delete_=True, type='MobileNetV2', out_indices=(1, 2, 4, 6), norm_cfg=dict(type='BN'))
#: Each with its channels at strides 4, 8, 16 and 32.
BACKBONES = {
    'ResNet-18': (RESNET, [64, 128, 256, 512]),
    'MiT-B0': (SEGFORMER, [32, 64, 160, 256]),
    'MobileNetV2': (MOBILENET, [24, 32, 96, 320]),
}
_OWN = ('regularised', 'same view', 'pasted, 32 variants', 'composed, 32 copies')
TEXTS = {
    'regularised': 'control: real images, augmented',
    'same view': 'the published method, labels of theta_C',
    'pasted, 32 variants': 'control: furniture of other rooms pasted in, 32 variants of each room',
    'composed, 32 copies': 'the same, with as many synthetic images whose furniture is pasted in and stays as it is',
}
ARMS = {
    f'{backbone}: {name}': Arm(f'{backbone} {rooms.ARMS[name].family}', rooms.ARMS[name].hook, TEXTS[name])
    for backbone in BACKBONES
    for name in _OWN
}


def configure(args: argparse.Namespace, title: str, seed: int) -> Config:
    """The configuration of an arm on Rooms with a backbone of its own."""
    backbone, _, name = title.partition(': ')
    cfg = rooms.configure(args, rooms.ARMS[name], seed)
    use_backbone(cfg, backbone, args.pipeline, args.lr)
    return cfg


def use_backbone(cfg: Config, name: str, pipeline: str, lr: float = 1e-3) -> None:
    """Put one of the backbones into an arm of Rooms, from scratch, with the augmentation that MMSegmentation's own
    configs have; what is created is of a diffusion model's folder."""
    body, channels = BACKBONES[name]
    cfg.merge_from_dict({'model.backbone': body, 'model.neck.in_channels': channels, 'optim_wrapper.optimizer.lr': lr})
    data = cfg.train_dataloader.dataset.dataset  # of what is pasted the outer pipeline
    steps = [step for step in data.pipeline if step['type'] not in ('RandomFlip', 'PhotometricCopies')]
    data.pipeline = [*steps[:-1], *(dict(step) for step in AUGMENTED), steps[-1]]
    creation = cfg.custom_hooks[0].creation
    if creation is not None:
        creation.diffusion = pipeline


def table(runs: Experiment, seeds: Sequence[int]) -> str:
    """Markdown: each arm, and what it is above its backbone's two controls, seed by seed."""
    head = ['arm', *(f'seed {s}' for s in seeds), 'mean', 'sd', 'minus the control', 'p (paired t)']
    lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
    for backbone in BACKBONES:
        control = {}
        for name in _OWN:
            scores = runs.scores(f'{backbone}: {name}', seeds)
            if rooms.ARMS[name].control:
                control = scores
            if scores:
                other = {} if control is scores else control
                lines.append(row(f'{backbone}: {TEXTS[name]}', scores, seeds, other))
    return '\n'.join(lines)


@HOOKS.register_module()
class ResidentHook(Hook):
    """Prints the most memory of the process within each of the last iterations."""

    priority = 'LOWEST'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Begins a new peak."""
        forget(get_device())

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """After each of the last ten."""
        if runner.iter + 10 >= runner.max_iters:
            print(f'resident {1024 * peak(get_device()):.0f}', flush=True)


def memory(args: argparse.Namespace) -> None:
    """MiB of a process while it trains: the config's own, and with the method after its creation."""
    # what a process has freed goes back at once, so that no hole in its heap counts
    freeing = dict(os.environ, MALLOC_MMAP_THRESHOLD_='65536', MALLOC_TRIM_THRESHOLD_='65536')
    for backbone in BACKBONES:
        found = {}
        for kind in ('own', 'method'):
            command = [sys.executable, __file__, '--one', f'{backbone}: {kind}', '--data-root', args.data_root]
            command += ['--pixels', str(args.pixels)]
            said = subprocess.run(command, check=True, capture_output=True, text=True, env=freeing).stdout
            found[kind] = max(int(line.split()[1]) for line in said.splitlines() if line.startswith('resident'))
        print(
            f'{backbone}: {found["own"]} MiB, with the method {found["method"]}: {found["method"] / found["own"]:.3f}'
        )


def train_one(args: argparse.Namespace) -> None:
    """A short run of :func:`memory`."""
    backbone, _, kind = args.one.partition(': ')
    args.warm_up, args.self_improving = 48, 12
    cfg = configure(args, f'{backbone}: same view', 0)
    size = args.pixels, args.pixels
    cfg.model.data_preprocessor.size = size
    cfg.train_dataloader.dataset.dataset.pipeline.insert(-1, dict(type='Resize', scale=size))
    cfg.work_dir = osp.join(args.out, 'memory', f'{backbone}_{kind}')
    cfg.custom_hooks = [*cfg.custom_hooks[:1], dict(type='ResidentHook')]
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.train_cfg.pop('val_interval')
    cfg.train_cfg.max_iters, cfg.custom_hooks[0].warm_up, cfg.param_scheduler = 16, 4, []
    if kind == 'own':
        cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
        cfg.custom_hooks = cfg.custom_hooks[1:]
    Runner.from_cfg(cfg).train()


def main() -> None:
    parser = rooms.rooms_arguments(
        __doc__, ARMS, out='work_dirs/own_backbones', warm_up=600, self_improving=300, cached_images=0, dropout=0.0
    )
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--memory', action='store_true', help='only measure memory')
    parser.add_argument('--pixels', type=int, default=128, help='of a side, for --memory (default: %(default)s)')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    args = parser.parse_args()
    init_default_scope('mmseg')
    if args.memory:
        return memory(args)
    if args.one:
        return train_one(args)
    runs = Experiment(
        args.out,
        ARMS,
        '',
        'mIoU',
        lambda arm, seed: configure(args, next(name for name, own in ARMS.items() if own is arm), seed),
        args.warm_up,
    )
    if not args.table:
        runs.run(args.arms, args.seeds)
    return print(table(runs, args.seeds))


if __name__ == '__main__':
    main()
