"""Writes the Diff-2-in-1 version of a config of MMSegmentation or MMDetection.

The new file inherits the config and replaces its backbone by a diffusion model, wraps its training
data and adds the SelfImprovingHook. The old backbone is built once, without its weights, to find
out what its neck and heads expect; then the model is tried: it learns, predicts and labels once.
With --keep-backbone the model stays as it is, and the diffusion model is there while synthetic
images are made only."""

import argparse
import os
import os.path as osp
import shlex
import sys

from diff2in1_commands import as_called, new_parser, program

EXAMPLES = """\
examples:
  python tools/switch_in.py mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py --out mine.py
  python tools/train.py mine.py --amp
  # your own SegFormer, Swin or ConvNeXt with its weights, and synthetic images beside the real ones
  python tools/switch_in.py mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py --out mine.py --keep-backbone
  # a config of your own; only the features, without synthetic images
  python tools/switch_in.py my_project/configs/a.py --out my_project/configs/b.py --features-only
  # a diffusion model that you trained or downloaded
  python tools/switch_in.py mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py --out mine.py \\
      --diffusion work_dirs/diffusion/pipeline --dtype fp32
  # which configs of a library can be switched: one of each family (without the number: all, which takes hours)
  python tools/switch_in.py --survey mmseg --per-family 1 --out work_dirs/zoo"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument(
        'config',
        nargs='?',
        help="config file, or 'mmseg::NAME' / 'mmdet::NAME' for one of those that come with the libraries",
    )
    parser.add_argument(
        '--survey',
        choices=['mmseg', 'mmdet'],
        help='try the configs that come with a library, and write a table of its families to --out, a folder; '
        'a survey that was cut off goes on',
    )
    parser.add_argument('--per-family', type=int, metavar='N', help='with --survey: only N configs of each folder')
    parser.add_argument('--workers', type=int, metavar='N', help='with --survey: processes (default: one a core)')
    parser.add_argument(
        '--iterations',
        type=int,
        metavar='N',
        help='with --survey: also run one working config of each family for N iterations, half of them on samples too',
    )
    parser.add_argument('--out', required=True, metavar='FILE', help='config to write; with --survey a folder')
    parser.add_argument('--overwrite', action='store_true', help='if FILE is there')
    parser.add_argument(
        '--diffusion',
        metavar='SOURCE',
        default='stable-diffusion-v1-5/stable-diffusion-v1-5',
        help='hub id, diffusers folder or single file, or diff2in1_mm/rooms, which comes with the package '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--dtype',
        choices=['bf16', 'fp16', 'fp32'],
        default='bf16',
        help='of the frozen diffusion model (default: %(default)s)',
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--features-only', action='store_true', help='only the backbone: no synthetic images, no theta_C')
    what.add_argument(
        '--keep-backbone',
        action='store_true',
        help="only synthetic images and theta_C: the config's own backbone stays, with its weights",
    )
    parser.add_argument(
        '--train',
        choices=['lora', 'full'],
        help='train the denoiser along: by LoRA (pip install peft), or all of it, as VPD does (default: frozen)',
    )
    parser.add_argument(
        '--warm-up',
        type=int,
        metavar='N',
        help="epochs or iterations on real data alone, as the config's loop counts (default: half the run)",
    )
    parser.add_argument(
        '--T', type=int, help='noise step of the synthetic images, 1 to 999 (default: 400 for label maps, else 300)'
    )
    parser.add_argument(
        '--side',
        type=int,
        metavar='PIXELS',
        help='of the square images on which the old backbone is tried (default: what it takes, or 128)',
    )
    parser.add_argument(
        '--out-channels',
        type=int,
        nargs='+',
        metavar='C',
        help='what the old backbone gave, where it cannot be tried; 0: nothing reads that map',
    )
    parser.add_argument('--out-strides', type=int, nargs='+', metavar='S')
    args = parser.parse_args(argv)
    if bool(args.config) == bool(args.survey):
        parser.error('give a config to switch, or --survey and a library')
    for name, least in dict(per_family=1, workers=1, iterations=2).items():
        value = getattr(args, name)
        if value is not None and (value < least or not args.survey):
            parser.error(f'--{name.replace("_", "-")} {value} is for --survey, and at least {least}')
    of_one = ('features_only', 'keep_backbone', 'train', 'warm_up', 'T', 'side', 'out_channels', 'out_strides')
    given = [name for name in of_one if getattr(args, name)] if args.survey else []
    if given:
        parser.error(f'--{given[0].replace("_", "-")} is for one config: a survey tries each way in turn')
    return args


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.diffusion.loading.components import model_index
from diff2in1_mm.switch_in.maps import given_maps
from diff2in1_mm.switch_in.options import SwitchOptions
from diff2in1_mm.switch_in.rewrite import check_text, switch_in
from diff2in1_mm.switch_in.survey import survey
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.errors import FileInTheWayError, UserError, told_in_a_sentence


def check_out(args: argparse.Namespace) -> None:
    """Before any work.

    Raises:
        ValueError, FileExistsError: One sentence.
    """
    if not args.out.endswith('.py'):
        raise UserError(f'--out {args.out} must end with .py: a config is written.')
    if osp.realpath(args.out) == osp.realpath(args.config):
        raise UserError(f'--out {args.out} is the config that the new one inherits: choose another name.')
    if osp.exists(args.out) and not args.overwrite:
        raise FileInTheWayError(f'{args.out} is there already: choose another --out, or say --overwrite.')


def options(args: argparse.Namespace) -> SwitchOptions:
    """The command line's, checked.

    Raises:
        ValueError: One sentence.
    """
    maps = None
    if args.out_channels or args.out_strides:
        maps = given_maps(args.out_channels or [], args.out_strides or [])
    return SwitchOptions(
        args.diffusion,
        args.dtype,
        args.features_only,
        args.warm_up,
        args.T,
        maps,
        args.side,
        args.keep_backbone,
        args.train,
    )


def write(text: str, out: str) -> None:
    """Writes a config that reads as one, or nothing.

    Raises:
        ValueError: What the base says cannot be changed as the text does it.
    """
    os.makedirs(osp.dirname(osp.abspath(out)), exist_ok=True)
    check_text(text, out)
    write_atomic(out, text.encode())


def unknown(source: str) -> str:
    """A sentence on a hub id whose family nothing on this machine says."""
    if source == SwitchOptions.diffusion or osp.exists(source) or model_index(source, download=False):
        return ''
    return (
        f'{source} is not on this machine and was taken for Stable Diffusion 1.x or 2.x: of another family, fetch its '
        f'index first (`hf download {source} model_index.json`) and switch again.\n'
    )


def main(argv=None) -> None:
    args = parse_args(argv)
    with told_in_a_sentence(program()):
        if args.survey:
            workers = args.workers or len(os.sched_getaffinity(0))
            print(survey(args.survey, args.out, options(args), args.per_family, workers, args.iterations))
            return
        check_out(args)
        text = switch_in(args.config, args.out, options(args))
        write(text, args.out)
    sys.stdout.write(
        f'{text}\n{unknown(args.diffusion)}Written to {args.out}. Look it through, then:\n'
        f'  {as_called("python tools/train.py")} {shlex.quote(args.out)}\n'
    )


if __name__ == '__main__':
    main()
