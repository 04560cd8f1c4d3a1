"""Trains or adapts a latent diffusion model on a folder of images."""

import argparse

from diff2in1_commands import add_common_options, new_parser, program, stop

EXAMPLES = """\
examples:
  # from scratch: first an autoencoder, then a denoiser on its latents
  python tools/train_diffusion.py configs/diffusion_camvid.py --amp \\
      --cfg-options data_root=/path/to/camvid
  # on images of your own, with captions from .txt files beside them
  python tools/train_diffusion.py configs/diffusion_camvid.py --work-dir work_dirs/mine \\
      --cfg-options data_root=/path/to/photos images.path=. images.captions=sidecar
  # a LoRA of a pretrained model of any family (WORK_DIR/lora), all weights of it
  # (configs/diffusion_full.py), a U-Net whose features need no noise
  # (configs/diffusion_distil_clean.py, WORK_DIR/unet), or a branch by which it follows
  # label maps (configs/diffusion_control.py, WORK_DIR/control)
  python tools/train_diffusion.py configs/diffusion_lora.py --amp \\
      --cfg-options data_root=/path/to/photos pretrained=stabilityai/stable-diffusion-3.5-medium
  # go on after an interruption: the same command with --resume
  python tools/train_diffusion.py configs/diffusion_camvid.py --amp --resume \\
      --cfg-options data_root=/path/to/camvid

The result of the others is WORK_DIR/pipeline, a folder that StableDiffusionPipeline.from_pretrained
and the `diffusion` of a DiffusionBackbone load; it is renewed while training goes on. Pictures of
the progress are in WORK_DIR/autoencoder/samples and WORK_DIR/denoiser/samples."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('--work-dir', help='where everything is written; default work_dirs/CONFIG_NAME')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='continue what the work dir holds, stage by stage; a finished one is left as it is',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 where the device has it (CPUs included), '
        'else float16 with loss scaling on GPUs, and float32 on CPUs',
    )
    add_common_options(parser)
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_distributed, is_main_process
from mmengine.logging import print_log

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.diffusion.precision import gpu_has_bf16
from diff2in1_mm.launch.config import load_config
from diff2in1_mm.launch.processes import check_launched, cpu_takes_bf16, join_gloo
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.pretraining.checks import (
    check_crops,
    check_fresh,
    check_keys,
    check_options,
    mark_finished,
    says_finished,
    warn_if_nothing_to_resume,
)
from diff2in1_mm.pretraining.training import DiffusionTraining
from diff2in1_mm.pretraining.tuning import training_of
from diff2in1_mm.utils.errors import misspellings_named, told_in_a_sentence


def use_amp(optim_wrapper: ConfigDict) -> None:
    """Mixed precision for one stage's optimizer wrapper."""
    if not torch.cuda.is_available():
        if cpu_takes_bf16():
            optim_wrapper.type = 'Bf16OptimWrapper'
    elif gpu_has_bf16():
        optim_wrapper.type = 'Bf16OptimWrapper'
    else:
        optim_wrapper.type = 'AmpOptimWrapper'
        optim_wrapper.loss_scale = 'dynamic'


def init_processes(cfg: Config) -> None:
    """Join the other processes before any stage, so that only the first writes shared files."""
    if cfg.launcher == 'none' or is_distributed():
        return
    if torch.cuda.is_available():
        check_launched(cfg.launcher)
        init_dist(cfg.launcher, **cfg.env_cfg.get('dist_cfg', {}))
        return
    # MMEngine asks for a CUDA device, also where there is none
    join_gloo(cfg)
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)


def prepare(args: argparse.Namespace) -> DiffusionTraining:
    """The training, checked before any work; the other processes are met."""
    cfg = load_config(args)
    check_options(args.cfg_options or ())
    check_keys(cfg)
    check_crops(cfg)
    check_writable(cfg.work_dir, '--work-dir')
    if not args.resume:
        check_fresh(cfg.work_dir)
    if args.amp:
        for stage in ('autoencoder', 'denoiser'):
            if stage in cfg:
                use_amp(cfg[stage].optim_wrapper)
    init_processes(cfg)
    if args.resume:
        warn_if_nothing_to_resume(cfg.work_dir)
    return training_of(cfg, args.resume)


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        with misspellings_named():
            training = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with told_in_a_sentence(program()):
        if args.resume and says_finished(training):
            print_log(f'All is done already: the result is in {training.result}', 'current')
            return
        print_log(f'The result is in {training.run()}', 'current')
        if is_main_process():
            mark_finished(training)


if __name__ == '__main__':
    main()
