"""Judges a store of synthetic samples: FID and KID to real images, diversity, a contact sheet.

The features are those of a diffusion backbone, so nothing is downloaded; with --inception they are
also those of the Inception network that papers use. Two halves of the real images, and
colour-jittered copies of them, give the scale of the figures."""

import argparse
import json
import os.path as osp
import sys
from collections.abc import Sequence
from itertools import islice

from diff2in1_commands import new_parser, program, stop

# Two halves of the real images are compared, and a distribution needs 4.
LEAST = 8
# Below this KID says little: its spread is as large as what it measures.
FEW = 50

EXAMPLES = """\
examples:
  python tools/evaluate_synthetic.py work_dirs/diff2in1_rooms/synthetic \\
      --real data/rooms/images/val
  # with the features of another diffusion model, and with Inception's
  python tools/evaluate_synthetic.py STORE --real FOLDER --inception pt_inception.pth \\
      --diffusion stable-diffusion-v1-5/stable-diffusion-v1-5

Written: OUT/figures.json and OUT/samples.png (source above sample). Lower FID and KID are better;
a diversity of 0 is a copy of the source, 1 as different as another image."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('store', help='folder of synthetic samples')
    parser.add_argument(
        '--real',
        required=True,
        metavar='FOLDER',
        help='real images to compare with, better not those that were sources',
    )
    parser.add_argument(
        '--diffusion',
        default='diff2in1_mm/rooms',
        help='diffusion model that gives the features (default: %(default)s)',
    )
    parser.add_argument(
        '--inception', metavar='FILE', help="Inception's weights, for comparable figures; needs torch-fidelity"
    )
    parser.add_argument(
        '--limit',
        type=int,
        default=2000,
        help='at most so many images of each '
        'set, which are all in memory (default: %(default)s); FID needs more '
        'images than the network has features: 2,049 for Inception',
    )
    parser.add_argument(
        '--ignore-orientation',
        action='store_true',
        help='read sources and real images without their EXIF orientation, as '
        "loaders with color_type='color_ignore_orientation' do",
    )
    parser.add_argument('--out', help='default: STORE/evaluation')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import numpy as np
import torch
import torch.nn as nn
from mmengine.utils import track_iter_progress
from PIL import Image
from torch import Tensor

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.datasets.image_folder import find_images
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.evaluation.generated_images import (
    DiffusionFeatures,
    check_torchmetrics,
    distances,
    diversity,
    inception_features,
)
from diff2in1_mm.preflight.machine import check_writable
from diff2in1_mm.self_improving.student_views import strong_view
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.atomic_files import write_atomic
from diff2in1_mm.utils.errors import MissingFileError, UserError, told_in_a_sentence
from diff2in1_mm.utils.pictures import contact_sheet, write_picture
from diff2in1_mm.utils.randomness import seeded_generators


def image_size(path: str) -> tuple[int, int] | None:
    """(width, height); None of an image that cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None


def read_images(paths: Sequence[str], size, turn: bool = True) -> dict[str, Tensor]:
    """uint8 RGB images (3, H, W) of one size (width, height) by path; the unreadable are named."""
    images = {}
    for path in paths:
        try:
            image = load_image(path, size, keep_ratio=False, turn=turn)
        except OSError as error:
            print(f'{path} cannot be read ({error}) and is left out', file=sys.stderr)
            continue
        images[path] = torch.from_numpy(image.copy()).permute(2, 0, 1)
    return images


@torch.no_grad()
def extract(network: nn.Module, images: Sequence[Tensor], batch_size: int = 16) -> Tensor:
    """Features (M, d) of images, with a progress bar."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    network.to(device)
    starts = list(range(0, len(images), batch_size))
    return torch.cat(
        [network(torch.stack(images[i : i + batch_size]).to(device)).float().cpu() for i in track_iter_progress(starts)]
    )


def jittered(images: Sequence[Tensor]) -> list[Tensor]:
    """Colour-jittered copies, as strong as the hook's strong view."""
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)  # pixel values as they are
    generators = seeded_generators(0, 'jitter', samples=range(len(images)))
    return [
        strong_view(image[None].float(), zero, one, [generator])[0].round().byte()
        for image, generator in zip(images, generators)
    ]


def figures(
    network: nn.Module, real: list[Tensor], samples: list[Tensor], sources: list[Tensor], standardise: bool = True
) -> dict[str, dict]:
    """All distances and the diversity, in the features of one network."""
    of_real, of_samples = extract(network, real), extract(network, samples)
    distinct = list({id(source): source for source in sources}.values())  # one for all its samples
    place = {id(source): i for i, source in enumerate(distinct)}
    of_distinct = extract(network, distinct)
    pairs = {
        'samples to real': (of_real, of_samples),
        'one half of real to the other': (of_real[::2], of_real[1::2]),
        'jittered copies to real': (of_real, extract(network, jittered(distinct))),
        'sources to real': (of_real, of_distinct),
    }
    return {
        **{
            name: dict(
                distances(*sets, standardise=standardise), images=min(map(len, sets)), fid_needs=of_real.shape[1] + 1
            )
            for name, sets in pairs.items()
            if min(map(len, sets)) >= LEAST // 2
        },
        'diversity': diversity(sources, samples, of_distinct[[place[id(s)] for s in sources]], of_samples),
    }


def table(result: dict[str, dict]) -> str:
    lines = [f'{"":32}{"KID":>20}{"FID":>14}']
    few = False
    for name, values in result.items():
        if 'kid' in values:
            fid = f'{values["fid"]:.2f}' if 'fid' in values else f'needs {values["fid_needs"]:,}'
            mark = ' *' if values['images'] < FEW else ''
            few = few or bool(mark)
            kid = f'{values["kid"]:>10.4f} +- {values["kid_std"]:.4f}'
            lines.append(f'{name:32}{kid}{fid:>14}{mark}')
    if few:
        lines.append(f'* fewer than {FEW} images in a set: this KID says little')
    found = ', '.join(f'{value:.3f} in {name}' for name, value in result['diversity'].items())
    return '\n'.join([*lines, f'diversity against the source: {found}'])


def check_counts(args: argparse.Namespace, real: int, samples: int) -> None:
    """Name sets that are too small to compare; before any work, and of what could be read.

    Raises:
        ValueError: One of them is.
    """
    if args.limit < LEAST:
        raise UserError(f'--limit {args.limit} must be at least {LEAST}: halves of the real images are compared')
    if real < LEAST:
        raise UserError(
            f'--real needs at least {LEAST} images that can be read, and {args.real} '
            f'has {real}: halves of them are compared'
        )
    if samples < LEAST // 2:
        raise UserError(
            f'the store {args.store} needs at least {LEAST // 2} samples that can be read, and has {samples}'
        )


def prepare(args: argparse.Namespace) -> tuple[SyntheticStore, list[SampleRecord], list[str]]:
    """The store, which of its samples and which real images are compared; before any work.

    Raises:
        OSError, ImportError, ValueError: One sentence that says what is missing.
    """
    if not osp.isdir(args.store):
        raise MissingFileError(
            f'there is no store {args.store}: give the folder that tools/create_data.py or a training run wrote'
        )
    if not osp.isdir(args.real):
        raise MissingFileError(f'there is no folder of real images {args.real}: give one with --real')
    store = SyntheticStore(args.store)
    records = list(islice((record for record in store.records() if not record.unlabelled), args.limit))
    if not records:
        raise UserError(f'the store {args.store} holds no samples that were made')
    real_paths = find_images(args.real, 'give another folder with --real')[: args.limit]
    check_counts(args, len(real_paths), len(records))
    lost = next((r.source_path for r in records if not osp.isfile(r.source_path)), None)
    if lost:
        raise MissingFileError(f'the source image {lost} is not there any more: run this where the samples were made')
    check_torchmetrics()
    args.out = args.out or osp.join(args.store, 'evaluation')
    check_writable(args.out, '--out')
    return store, records, real_paths


def evaluate(
    args: argparse.Namespace, store: SyntheticStore, records: list[SampleRecord], real_paths: list[str]
) -> dict[str, dict[str, dict]]:
    """The figures by network; writes them and the sheet."""
    networks = {'diffusion': DiffusionFeatures(args.diffusion)}
    if args.inception:
        networks['inception'] = inception_features(args.inception)
    size = next(filter(None, map(image_size, map(store.image_path, records))), None)
    if size is None:
        raise UserError(f'none of the images of {args.store} can be read')
    of_store = read_images([store.image_path(r) for r in records], size)
    turn = not args.ignore_orientation
    of_sources = read_images(dict.fromkeys(r.source_path for r in records), size, turn)
    pairs = [
        (of_sources[r.source_path], of_store[store.image_path(r)])
        for r in records
        if r.source_path in of_sources and store.image_path(r) in of_store
    ]
    real = list(read_images(real_paths, size, turn).values())
    if not (pairs and real):
        raise UserError(f'none of the images of {args.real if pairs else args.store} can be read')
    check_counts(args, len(real), len(pairs))
    sources, samples = zip(*pairs)
    result = {
        name: figures(network, real, samples, sources, standardise=name != 'inception')
        for name, network in networks.items()
    }
    write_atomic(osp.join(args.out, 'figures.json'), json.dumps(result, indent=2).encode())
    rows = [
        [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images[:12]] for images in (sources, samples)
    ]
    write_picture(osp.join(args.out, 'samples.png'), contact_sheet(rows, ('source', 'sample')))
    print()
    for name, values in result.items():
        print(f'features of {name}:\n{table(values)}')
    print(f'Written to {args.out}')
    return result


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        prepared = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    with told_in_a_sentence(program()):
        evaluate(args, *prepared)


if __name__ == '__main__':
    main()
