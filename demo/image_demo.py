"""Predicts images and writes the predictions as pictures; with --generate also variants of them.

Without a config it shows what the diffusion model itself makes of an image: its features, as their principal
components in colours, and variants from several noise steps."""

import argparse
import os.path as osp
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from diff2in1_commands import SOLVERS, add_config_options, new_parser, stop

EXAMPLES = """\
examples:
  # nothing trained yet: features and variants of the diffusion model that comes with the package, or of another
  python demo/image_demo.py photo.jpg
  python demo/image_demo.py photo.jpg --diffusion stable-diffusion-v1-5/stable-diffusion-v1-5 --prompt 'a street'
  python demo/image_demo.py photo.jpg configs/diff2in1_camvid.py work_dirs/diff2in1_camvid/iter_1200.pth
  python demo/image_demo.py 'photos/**/*.png' CONFIG CHECKPOINT --out-dir pictures --opacity 0.7
  # what the creation stage would make of this photograph, and how the model labels it
  python demo/image_demo.py photo.jpg CONFIG CHECKPOINT --generate --T 200 400 600 --copies 2"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('image', help='image file, folder, or glob (in quotes; ** looks deeper)')
    parser.add_argument('config', nargs='?', help='config file, or the name of one of ours')
    # Optional here, so that its absence is told with what to give.
    parser.add_argument('checkpoint', nargs='?', help='trained weights (.pth)')
    parser.add_argument(
        '--diffusion',
        metavar='SOURCE',
        default='diff2in1_mm/rooms',
        help='without a config: the diffusion model; default %(default)s, which has seen rendered rooms only',
    )
    parser.add_argument('--out-dir', default='outputs', help='folder of the pictures; default outputs')
    parser.add_argument('--device', help='for example cuda:1 or cpu; default: a GPU, if any')
    parser.add_argument('--batch-size', type=int, default=8, help='images of one size at a time; default 8')
    parser.add_argument('--opacity', type=float, default=0.5, help='of the classes over the image, 0 to 1; default 0.5')
    parser.add_argument(
        '--no-legend', action='store_true', help='pictures of exactly the size of the image, without class names below'
    )
    parser.add_argument('--score-thr', type=float, help='detectors: boxes with lower scores are not drawn; default 0.3')
    add_config_options(parser)
    group = parser.add_argument_group(
        'variants', "What is not given here is taken from SelfImprovingHook's `creation` settings in the config."
    )
    group.add_argument(
        '--generate',
        action='store_true',
        help='also write NAME_variants.png: partial-noise variants of each image and their predictions',
    )
    group.add_argument(
        '--T',
        type=int,
        nargs='+',
        help='steps to which the image is noised, one row each; default 200 400 600, without a config 100 200 400 600',
    )
    group.add_argument('--copies', type=int, default=2, help='variants in a row; default 2')
    group.add_argument('--steps', type=int, help='U-Net passes per variant')
    group.add_argument('--solver', choices=SOLVERS, help='euler is for flow-matching models')
    group.add_argument('--prompt', help='what the image shows, for the diffusion model')
    group.add_argument(
        '--words',
        nargs='+',
        help='without a config: things whose places the diffusion model is asked for, two or more (Stable Diffusion '
        '1.x and 2.x); default: things of the rooms for the model of rooms, else none',
    )
    group.add_argument('--label', type=int, help='class that a class-conditional diffusion model is told')
    group.add_argument(
        '--guidance-scale', type=float, help='above 1: follow the prompt more closely, for twice the time'
    )
    group.add_argument('--seed', type=int, default=0, help='of the noise; default 0')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

import cv2
import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.creation.background import duration
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.creation.variant_maker import VariantMaker
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.diffusion.contract import DiffusionModel
from diff2in1_mm.diffusion.loading.embedded import is_embedded, locate
from diff2in1_mm.diffusion.loading.source import trained_side
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, load_weights, read_checkpoint
from diff2in1_mm.launch.config import creation_of, give_preprocessor
from diff2in1_mm.launch.read_config import check_has, merge_options, read_config
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.preflight.machine import check_device, check_writable
from diff2in1_mm.utils.configs import type_name
from diff2in1_mm.utils.errors import UserError, misspellings_named
from diff2in1_mm.utils.optional import scope_of
from diff2in1_mm.utils.pictures import contact_sheet, write_picture
from diff2in1_mm.utils.quiet_libraries import leave_known_warnings_untold
from diff2in1_mm.visualization.batches import draw_in_batches
from diff2in1_mm.visualization.features import attention_pictures, feature_pictures
from diff2in1_mm.visualization.files import find_images, output_paths
from diff2in1_mm.visualization.predictor import Predictor, predictor_for
from diff2in1_mm.visualization.variants import with_legend

#: Things that the model of the package has seen.
_OF_ROOMS = ('window', 'table', 'chair', 'sofa', 'lamp', 'plant')
_LONG = 20  # seconds of --generate that are told before

#: Pictures of images as they are written: each path, with the error of a file that cannot be read.
Pictures = Iterator[tuple[str, Exception | None]]


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line says."""
    cfg = read_config(diff2in1_mm.find_config(args.config))
    merge_options(cfg, args.cfg_options or {})
    check_has(cfg, args.config, 'model')
    give_preprocessor(cfg)
    return cfg


def given_checkpoint(checkpoint: str | None) -> dict:
    """The content of the checkpoint; names one that is missing or none."""
    if not checkpoint:
        raise UserError(
            'CHECKPOINT is missing after the config: give the trained weights, which '
            'tools/train.py writes as iter_*.pth into its work dir'
        )
    check_checkpoint(checkpoint)
    return read_checkpoint(checkpoint)


def creation_settings(cfg: Config, args: argparse.Namespace) -> CreationSettings:
    """The config's own settings of the creation stage, or what the command line says instead."""
    settings = creation_of(cfg, solver=args.solver, steps=args.steps, guidance_scale=args.guidance_scale)
    if args.label is not None:
        settings['condition'] = dict(type='ClassLabel', label=args.label)
    elif args.prompt is not None:
        settings['condition'] = dict(type='Prompt', text=args.prompt)
    elif type_name(settings.get('condition') or {}) == 'OwnCaption':
        # captions come with a data set; a file of its own has none
        print('The images are varied under the empty prompt: --prompt says what they show.')
        settings['condition'] = dict(type='Prompt')
        if args.guidance_scale is None:  # it would have nothing to lead to
            settings.update(guidance_scale=1.0, negative_prompt='')
    # one level a row, labelled by the model
    settings.update(T_margin=0, label_from='fresh')
    T = args.T or ([200, 400, 600] if args.config else [100, 200, 400, 600])
    return CreationSettings.from_dict(dict(settings, T=T, copies_per_source=args.copies if args.config else 1))


def run(out_dir: str, paths: Sequence[str], pictures: Pictures) -> int:
    """Write all pictures; an image that cannot be read is named and left out.

    Args:
        out_dir (str): Told at the end.
        paths (Sequence[str]): Of the images.
        pictures (Pictures): Of these.

    Returns:
        int: Number of images whose pictures were written.
    """
    skipped = []
    for path, error in tqdm(pictures, total=len(paths), unit='image'):
        if error is not None:
            skipped.append(path)
            tqdm.write(f'{path} cannot be read and is left out: {error}', file=sys.stderr)
    written = len(paths) - len(skipped)
    print(
        f'{written} of {len(paths)} images: pictures in {osp.abspath(out_dir)}'
        + (f'; {len(skipped)} could not be read: {", ".join(skipped)}' if skipped else '')
    )
    return written


def one_by_one(paths: Iterable[str], turn: bool, write: Callable[[str, np.ndarray], None]) -> Pictures:
    """Pictures that take long beside the reading, ``turn``: with the EXIF orientation."""
    for path in paths:
        try:
            image = load_image(path, turn=turn)
        except Exception as error:  # whatever a decoder raises on a broken file
            yield path, error
            continue
        write(path, image)
        yield path, None


def predictions(
    args: argparse.Namespace, targets: Mapping[str, str], predictor: Predictor, maker: VariantMaker | None
) -> Pictures:
    """Predictions of images, and their variants where there is who makes them."""

    def draw(path: str, image: np.ndarray, prediction: Any) -> np.ndarray:
        overlay = picture = predictor.draw(image, prediction)
        if not (args.no_legend or predictor.writes_names):
            picture = with_legend(overlay, predictor.legend(predictor.present(prediction)))
        write_picture(f'{targets[path]}.png', picture)
        return overlay

    if maker is None:
        load = partial(load_image, turn=predictor.turns)
        return draw_in_batches(predictor, targets, load, draw, args.batch_size)

    told = False

    def write(path: str, image: np.ndarray) -> None:
        nonlocal told
        prediction = predictor.predict(path)
        overlay = draw(path, image, prediction)
        if not told:
            told = True
            seconds = maker.seconds(path, prediction) * len(targets)
            if seconds > _LONG:
                tqdm.write(f'The variants will take about {duration(seconds)}.')
        write_picture(f'{targets[path]}_variants.png', maker.picture(path, image, prediction, overlay))

    return one_by_one(targets, predictor.turns, write)


def looks(args: argparse.Namespace, targets: Mapping[str, str]) -> Pictures:
    """The features of each image and its variants, from a diffusion model alone."""
    maker = VariantMaker(creation_settings(Config({}), args), args.seed)
    condition = None if args.label is None else dict(type='ClassLabel', label=args.label)
    backbone = DiffusionBackbone(args.diffusion, condition=condition).eval().to(default_device(args.device))
    maker.attach_model(backbone.diffusion, targets)
    words = asked_words(args, backbone.diffusion)
    told = f'"{args.prompt}"' if args.prompt else None if args.label is None else f'class {args.label}'
    side = trained_side(locate(args.diffusion), backbone.diffusion.usual_side)

    def write(path: str, image: np.ndarray) -> None:
        size = [max(1, round(edge * side / min(image.shape[:2]))) for edge in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rows = [[image, *feature_pictures(backbone, image)]]
        if words:
            rows.append(attention_pictures(backbone.diffusion, image, words))
        variants = [maker.variants(image, Source(path), T)[0] for T in maker.levels]
        titles = [
            f'{osp.basename(path)}, features of {args.diffusion} at strides {_listed(backbone.tap_strides)} pixels',
            *([f'where it looks for: {_listed(words)}'] if words else []),
            f'variants from noise steps {_listed(maker.levels)}, '
            + ('told nothing (--prompt)' if told is None else f'told {told}'),
        ]
        write_picture(f'{targets[path]}_look.png', contact_sheet([*rows, variants], titles))

    return one_by_one(targets, True, write)


def asked_words(args: argparse.Namespace, model: DiffusionModel) -> Sequence[str]:
    """Whose places are drawn; none where the model cannot tell."""
    able = isinstance(model, LatentDiffusion) and bool(model.attention_layers())
    if args.words and (not able or len(args.words) < 2):
        raise UserError(
            f'--words {" ".join(args.words)}: give two or more, to a Stable Diffusion 1.x or 2.x, whose attention '
            'tells where each is looked for'
        )
    return args.words or (_OF_ROOMS if able and is_embedded(args.diffusion) else ())


def _listed(numbers: Iterable[Any]) -> str:
    return ', '.join(map(str, numbers))


def default_device(device: str | None) -> str:
    """The device that was given, or else a GPU, if any."""
    return device or ('cuda:0' if torch.cuda.is_available() else 'cpu')


def prepare(args: argparse.Namespace) -> tuple[Sequence[str], Pictures]:
    """What :func:`run` takes; whatever is cheap is checked before the model is built."""
    leave_known_warnings_untold()
    targets = output_paths(find_images(args.image), args.out_dir)
    weights = given_checkpoint(args.checkpoint) if args.config else {}
    check_device(args.device)
    check_writable(args.out_dir, '--out-dir')
    if args.batch_size < 1:
        raise UserError(f'--batch-size {args.batch_size} must be at least 1')
    if not 0 <= args.opacity <= 1:
        raise UserError(f'--opacity {args.opacity} must be between 0 and 1')
    if not args.config:
        return list(targets), looks(args, targets)
    cfg = load_config(args)
    if 'meta' not in weights and scope_of(cfg) == 'mmseg':  # which asks for it
        raise UserError(
            f'{args.checkpoint} holds weights alone, without the names of the classes '
            '(`meta`): give the file that tools/train.py wrote'
        )
    maker = VariantMaker(creation_settings(cfg, args), args.seed) if args.generate else None
    predictor = predictor_for(cfg, args.checkpoint, default_device(args.device), args.opacity, args.score_thr)
    load_weights(predictor.model, weights, args.checkpoint)  # the libraries would only warn
    if scope_of(cfg) == 'mmseg':
        from diff2in1_mm.models.segmentors.windows import batch_windows  # of MMSegmentation, which detectors do without

        batch_windows(predictor.model)
    if maker is not None:
        maker.attach(predictor, targets)
    return list(targets), predictions(args, targets, predictor, maker)


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        with misspellings_named():
            paths, pictures = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    if not run(args.out_dir, paths, pictures):
        sys.exit(1)


if __name__ == '__main__':
    main()
