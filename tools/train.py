"""Trains a model: warm-up, creation of synthetic data, self-improvement and validation in one run.

Any MMSegmentation or MMDetection config works; one with SelfImprovingHook goes through the stages
of Diff-2-in-1. The run ends with a table of its stages, which WORK_DIR/summary.json holds too."""

import argparse
import logging
import os.path as osp

from diff2in1_commands import add_common_options, new_parser, program, stop

EXAMPLES = """\
examples:
  # the whole system on a rendered world, with the diffusion model that the package brings: minutes, no GPU
  python tools/train.py configs/diff2in1_rooms.py
  # interrupted? The same command with --resume goes on where the last checkpoint was.
  python tools/train.py configs/diff2in1_rooms.py --resume
  # another length, another seed, another folder
  python tools/train.py configs/diff2in1_camvid.py --work-dir work_dirs/long \\
      --cfg-options train_cfg.max_iters=2000 train_cfg.val_interval=500 \\
      param_scheduler.1.end=2000 custom_hooks.0.warm_up=1000 randomness.seed=1
  # the data lie elsewhere
  python tools/train.py configs/diff2in1_camvid.py --cfg-options data_root=/path/to/camvid
  # two processes, on GPUs or CPUs
  torchrun --nproc_per_node=2 tools/train.py configs/diff2in1_camvid.py --launcher pytorch"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument(
        '--work-dir', help='where checkpoints, logs and synthetic data are written; default work_dirs/CONFIG_NAME'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the last one of the work dir',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision; on a machine without a GPU bfloat16, where its CPU computes in it',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate to the batch size (the config's auto_scale_lr)",
    )
    add_common_options(parser)
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.hooks.read_checkpoint import (
    WeightsTakenHook,
    check_checkpoint,
    check_resumable,
    load_weights,
    read_checkpoint,
)
from diff2in1_mm.launch.config import load_config
from diff2in1_mm.launch.processes import cpu_takes_bf16, prepare_processes, unused_weights_named
from diff2in1_mm.launch.quiet_start import quiet_start
from diff2in1_mm.launch.read_config import check_has
from diff2in1_mm.preflight.boxes import check_annotation_files
from diff2in1_mm.preflight.inputs import check_data, check_hook_data
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.utils.configs import find_hook, type_name
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence


def prepare(args: argparse.Namespace) -> Config:
    """The config of the run, checked as far as can be before anything is built."""
    cfg = load_config(args)
    check_has(cfg, args.config, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.amp:
        _use_amp(cfg)
    _check_precision(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in '
                'the config: the batch size that its learning rate is for.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    start = cfg.get('load_from') or ''
    if start:
        check_checkpoint(
            start, 'give an existing one to --resume (alone it takes the last one of the work dir) or load_from'
        )
    latest = _latest(cfg)
    if latest:
        check_checkpoint(
            latest,
            f'{cfg.work_dir}/last_checkpoint names it; give an existing one '
            'to --resume, or remove that file to start anew',
        )
    check_writable(cfg.work_dir, '--work-dir')
    dataset = cfg.train_dataloader.dataset
    if type_name(dataset) == 'SyntheticMixDataset' and dataset.get('store'):
        check_writable(dataset.store, "SyntheticMixDataset's store")
    check_hook_data(cfg)
    check_data(cfg, 'train_dataloader', 'val_dataloader')
    if find_hook(cfg, 'SelfImprovingHook') is None:  # which does both itself
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            ConfigDict(type='CheckInputsHook'),
            ConfigDict(type='SummaryHook'),
        ]
    return cfg


def _latest(cfg: Config) -> str | None:
    """The checkpoint of the work dir that this run goes on from, where none is given."""
    path = osp.join(cfg.work_dir, 'last_checkpoint')
    if not cfg.get('resume') or cfg.get('load_from') or not osp.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        return file.read().strip()


def _use_amp(cfg: Config) -> None:
    """The mixed precision of this machine, or none where that does not pay."""
    kind = type_name(cfg.optim_wrapper)
    if kind not in ('', 'OptimWrapper', 'AmpOptimWrapper', 'Bf16OptimWrapper'):
        raise UserError(f'--amp cannot change optim_wrapper.type = {kind!r}: set the precision in the config.')
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'Bf16OptimWrapper' if cpu_takes_bf16() else 'OptimWrapper'
        for name in ('dtype', 'loss_scale', 'use_fsdp'):  # of AmpOptimWrapper alone
            cfg.optim_wrapper.pop(name, None)


def _check_precision(cfg: Config) -> None:
    """Name a config for GPUs, which MMEngine stops by an assertion on a machine without one."""
    if type_name(cfg.optim_wrapper) == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UserError(
            "optim_wrapper.type = 'AmpOptimWrapper' is mixed precision of GPUs, and torch sees none here: give --amp, "
            "which takes what this CPU computes in, or set it to 'OptimWrapper'"
        )


def _look_at_resumed(runner: Runner, cfg: Config) -> None:
    """Name a checkpoint of another model, of which MMEngine would load what fits."""
    if not cfg.get('resume'):
        return
    path = cfg.get('load_from') or _latest(cfg)
    if path and isinstance(runner.model, torch.nn.Module):  # FlexibleRunner builds it later
        content = read_checkpoint(path)
        load_weights(runner.model, content, path)
        check_resumable(content, path)
    elif not path:  # no error: clusters submit --resume always
        print_log(f'nothing to resume in {cfg.work_dir}: starting anew', 'current', level=logging.WARNING)


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        cfg = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with quiet_start(cfg.work_dir) as start, told_in_a_sentence(program(), cfg.work_dir):
        with start.building():
            prepare_processes(cfg)
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        check_annotation_files(cfg, 'train', 'val')
        _look_at_resumed(runner, cfg)
        if isinstance(runner, Runner):  # wrappers of FlexibleRunner's strategies keep names of their own
            runner.register_hook(WeightsTakenHook(), priority='LOWEST')
        start.begin_with(runner)
        with unused_weights_named(runner):
            runner.train()


if __name__ == '__main__':
    main()
