"""Converts published checkpoints; what a file is, is told by its keys.

Known are the normals of Diff-2-in-1 (two files, aggregator and decoder), VPD's segmentation and
depth, MMSegmentation's VPD depth, and Stable Diffusion 1.x and 2.x in the original layout."""

import argparse
import os.path as osp

from diff2in1_commands import as_called, new_parser, program, stop

EXAMPLES = """\
examples:
  # normals of Diff-2-in-1; --diffusion also notes which Stable Diffusion they belong to
  python tools/convert_checkpoint.py checkpoint_49.pth checkpoint_bae_49.pth --out normals \\
      --diffusion stable-diffusion-v1-5/stable-diffusion-v1-5
  # VPD's segmentation or depth, MMSegmentation's VPD depth
  python tools/convert_checkpoint.py vpd_ade20k.pth --out vpd_ade20k
  # Stable Diffusion as a diffusers folder
  python tools/convert_checkpoint.py v1-5-pruned-emaonly.safetensors --out sd15

OUT holds config.py and checkpoint.pth, with which `python tools/test.py OUT/config.py
OUT/checkpoint.pth` runs, diffusion/ (a diffusers folder) and embeddings.safetensors where the
source brings them, and report.json with the fate of every key. Of Stable Diffusion, OUT is the
diffusers folder. See docs/convert_checkpoint.md."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument(
        'inputs', nargs='+', metavar='IN', help='.safetensors, .pth, .pt or .ckpt; no code in them is run'
    )
    parser.add_argument('--out', required=True, help='folder to write, as a whole or not at all')
    parser.add_argument('--force', action='store_true', help='replace an earlier conversion')
    parser.add_argument(
        '--diffusion',
        metavar='SOURCE',
        help='pretrained diffusion model: what the normals look through, and what '
        'the configs of VPD generate with; default: Stable Diffusion 1.5',
    )
    parser.add_argument(
        '--prediction-type',
        choices=['epsilon', 'v_prediction'],
        help='of Stable Diffusion 2.x, whose files do not say it',
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.conversion.folder import check_target, write_folder
from diff2in1_mm.conversion.report import summary
from diff2in1_mm.conversion.sources import convert
from diff2in1_mm.diffusion.loading.embedded import locate
from diff2in1_mm.diffusion.loading.original_layout import read_tensors
from diff2in1_mm.diffusion.loading.source import check_source
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.utils.errors import MissingFileError, UserError, told_in_a_sentence


def prepare(args: argparse.Namespace) -> None:
    """Looks at what is given before anything is read.

    Raises:
        OSError, ValueError: One sentence that says the mend.
    """
    check_target(args.out, args.force)
    check_writable(args.out, '--out')
    if osp.ismount(args.out):
        raise UserError(
            f'--out {args.out} is a mounted volume, which cannot be replaced as a '
            f'whole: give a folder in it, such as {osp.join(args.out, "converted")}'
        )
    # where the new folder is made before it takes the place of the old one
    check_writable(osp.dirname(osp.abspath(args.out)), '--out, the folder above it:')
    if args.diffusion is not None:
        check_source(locate(args.diffusion))
    for path in args.inputs:
        if osp.isdir(path):
            raise UserError(
                f'{path} is a folder, but files are converted: a folder of diffusers is the `diffusion` of a config as '
                'it is'
            )
        if not osp.isfile(path):
            raise MissingFileError(f'there is no file {path!r}: give the checkpoints to convert')
        open(path, 'rb').close()  # without the right to, this says so


def run(args: argparse.Namespace) -> dict:
    """Read, convert, write."""
    states = {path: read_tensors(path) for path in args.inputs}
    source, converted = convert(states, args.prediction_type)
    return write_folder(args.out, source, args.inputs, converted, args.diffusion)


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with told_in_a_sentence(program()):
        content = run(args)
    print(f'{summary(content)}\nEvery name is in {osp.join(args.out, "report.json")}.')
    if osp.isfile(osp.join(args.out, 'config.py')):
        print(
            f'Evaluate: {as_called("python tools/test.py")} {osp.join(args.out, "config.py")} '
            f'{osp.join(args.out, "checkpoint.pth")}'
        )


if __name__ == '__main__':
    main()
