"""Writes the Diff-2-in-1 version of any MMSegmentation or MMDetection config.

The new file inherits the config and replaces its backbone by a diffusion model, wraps its training
data and adds the SelfImprovingHook. The old backbone is built once, without weights, to find out
what its neck and heads expect. Nothing is downloaded."""
import argparse
import os.path as osp
import sys

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from mmengine.config import Config

from diff2in1_mm.files import write_atomic
from diff2in1_mm.sentences import told_in_a_sentence
from diff2in1_mm.switch_in import SwitchOptions, given_maps, switch_in

EXAMPLES = """\
examples:
  python tools/switch_in.py mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py --out mine.py
  python tools/train.py mine.py --amp
  # a config of your own; only the features, without synthetic images
  python tools/switch_in.py my_project/configs/a.py --out my_project/configs/b.py --features-only
  # a diffusion model that you trained or downloaded
  python tools/switch_in.py mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py --out mine.py \\
      --diffusion work_dirs/diffusion/pipeline --dtype fp32"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="config file, or 'mmseg::NAME' / 'mmdet::NAME' for one of "
                        'those that come with the libraries')
    parser.add_argument('--out', required=True, metavar='FILE', help='config to write')
    parser.add_argument('--overwrite', action='store_true', help='if FILE is there')
    parser.add_argument('--diffusion', metavar='SOURCE', default=SwitchOptions.diffusion,
                        help='hub id, diffusers folder or single file (default: %(default)s)')
    parser.add_argument('--dtype', choices=['bf16', 'fp16', 'fp32'], default=SwitchOptions.dtype,
                        help='of the frozen diffusion model (default: %(default)s)')
    parser.add_argument('--features-only', action='store_true',
                        help='only the backbone: no synthetic images, no theta_C')
    parser.add_argument('--warm-up', type=int, metavar='N', help='epochs or iterations on real '
                        "data alone, as the config's loop counts (default: half the run)")
    parser.add_argument('--T', type=int, help='noise step of the synthetic images, 1 to 999 '
                        '(default: 400; boxes and panoptic maps: 300)')
    parser.add_argument('--side', type=int, metavar='PIXELS',
                        help='of the square images on which the old backbone is tried (default: '
                        'its img_size, or 256)')
    parser.add_argument('--out-channels', type=int, nargs='+', metavar='C',
                        help='what the old backbone gave, where it cannot be tried; 0: nothing '
                        'reads that map')
    parser.add_argument('--out-strides', type=int, nargs='+', metavar='S')
    return parser.parse_args(argv)


def options(args: argparse.Namespace) -> SwitchOptions:
    """The command line's, checked.

    Raises:
        ValueError: One sentence.
    """
    if args.T is not None and not 1 <= args.T <= 999:
        raise ValueError(f'--T {args.T} is out of range: 1 to 999.')
    maps = None
    if args.out_channels or args.out_strides:
        maps = given_maps(args.out_channels or [], args.out_strides or [])
    return SwitchOptions(args.diffusion, args.dtype, args.features_only, args.warm_up, args.T, maps,
                         args.side)


def main(argv=None) -> None:
    args = parse_args(argv)
    with told_in_a_sentence('switch_in.py'):
        if not args.out.endswith('.py'):
            raise ValueError(f'--out {args.out} must end with .py: a config is written.')
        if osp.exists(args.out) and not args.overwrite:
            raise FileExistsError(f'{args.out} is there already: choose another --out, or say '
                                  '--overwrite.')
        text = switch_in(args.config, args.out, options(args))
    write_atomic(args.out, text.encode())
    Config.fromfile(args.out)  # it must read as a config
    sys.stdout.write(f'{text}\nWritten to {args.out}. Look it through, then:\n'
                     f'  python tools/train.py {args.out}\n')


if __name__ == '__main__':
    main()
