"""Whether runs move between stacks: a run that is begun with the libraries of one and goes on with those of another.

    python benchmarks/across_stacks.py default=.venv/bin/python oldest=../oldest/bin/python onedl=../onedl/bin/python

Each Python (an environment by ``tools/set_up.py --stack``) trains ``configs/diff2in1_rooms.py`` for 16 iterations on 8
rooms: 8 of warm-up, then the creation, then on the mix. Every other one resumes a copy of that folder from its
checkpoint of iteration 12, by the config, the checkpoint and the store as they were written. Printed is how far its
last four losses are from those of the run that was not interrupted; more than 1e-4 anywhere ends with status 1.
Dropout is off: its masks are other ones with another torch.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'diff2in1_rooms.py'
BOUND = 1e-4
LAST = range(13, 17)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('stacks', nargs='+', metavar='NAME=PYTHON', help='names and Pythons of two or more stacks')
    parser.add_argument('--data-root', default='data/rooms', help='where Rooms is, or is rendered to')
    parser.add_argument('--out', default='work_dirs/across_stacks', help='folder of the runs; begun anew')
    return parser.parse_args()


def options(data_root: Path) -> list[str]:
    """What makes the shipped config a run of 16 iterations."""
    return [
        f'train_dataloader.dataset.dataset.data_root={data_root}',
        f'val_dataloader.dataset.data_root={data_root}',
        'train_dataloader.dataset.dataset.num_labelled=8',
        'val_dataloader.dataset.indices=8',
        'model.decode_head.dropout_ratio=0.0',
        'train_cfg.max_iters=16',
        'train_cfg.val_interval=16',
        'custom_hooks.0.warm_up=8',
        'custom_hooks.0.creation.steps=4',
        'custom_hooks.0.creation.batch_size=8',
        'param_scheduler.0.end=4',
        'param_scheduler.1.begin=4',
        'param_scheduler.1.end=16',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=12',
    ]


def train(python: str, *args: str | Path) -> None:
    """One run of tools/train.py, whose words are kept for when it fails."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES='')
    command = [python, str(ROOT / 'tools' / 'train.py'), *map(str, args)]
    ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        sys.exit(f'{" ".join(command)} ended with status {ran.returncode}:\n{ran.stdout[-3000:]}')


def losses(run: Path) -> list[float]:
    """Of the last iterations, as the logger wrote them."""
    lines = [line for file in run.glob('*/vis_data/scalars.json') for line in file.read_text().splitlines()]
    found = {scalars['step']: scalars['loss'] for scalars in map(json.loads, lines) if 'loss' in scalars}
    return [found[iteration] for iteration in LAST]


def resumed(run: Path, copy: Path, python: str) -> list[float]:
    """Losses of a copy of a run that goes on from iteration 12 with another Python."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns('iter_16.pth', '2???????_??????'))
    (copy / 'last_checkpoint').write_text(str(copy / 'iter_12.pth'))
    train(python, copy / CONFIG, '--work-dir', copy, '--resume')
    return losses(copy)


def main() -> None:
    args = parse_args()
    pythons = dict(stack.split('=', 1) for stack in args.stacks)
    # not resolved: a Python of an environment is a link
    pythons = {name: os.path.abspath(python) for name, python in pythons.items()}
    out = Path(args.out).resolve()
    shutil.rmtree(out, ignore_errors=True)
    whole = {}
    for name, python in pythons.items():
        run = out / name
        train(
            python,
            ROOT / 'configs' / CONFIG,
            '--work-dir',
            run,
            '--cfg-options',
            *options(Path(args.data_root).resolve()),
        )
        whole[name] = losses(run)
        print(f'{name:>10}: losses', *(f'{loss:.6f}' for loss in whole[name]), flush=True)
    worst = 0.0
    for begun, other in itertools.permutations(pythons, 2):
        after = resumed(out / begun, out / f'{begun}_on_{other}', pythons[other])
        apart = max(abs(a - b) for a, b in zip(after, whole[begun]))
        worst = max(worst, apart)
        print(f'{begun:>10} -> {other:<10} {apart:.1e}', flush=True)
    sys.exit(int(not worst <= BOUND))


if __name__ == '__main__':
    main()
