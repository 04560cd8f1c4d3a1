"""Predicts images and writes the predictions as pictures; with --generate also variants of them.

Without a config it shows what the diffusion model itself makes of an image: its features, as their principal
components in colours, and variants from several noise steps."""

import argparse
import os.path as osp
import sys
from collections.abc import Callable, Iterable
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
from diff2in1_mm.creation.create import diffusion_of
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.diffusion.contract import DiffusionModel
from diff2in1_mm.diffusion.loading.embedded import locate
from diff2in1_mm.diffusion.loading.source import trained_side
from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, load_weights, read_checkpoint
from diff2in1_mm.launch.config import creation_of, give_preprocessor
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.preflight.machine import check_device, check_writable
from diff2in1_mm.utils.configs import type_name
from diff2in1_mm.utils.errors import UserError, misspellings_named
from diff2in1_mm.utils.image_values import to_bytes, to_unit_range
from diff2in1_mm.utils.optional import scope_of
from diff2in1_mm.utils.pictures import contact_sheet, write_picture
from diff2in1_mm.utils.randomness import stable_seed
from diff2in1_mm.visualization.features import feature_pictures
from diff2in1_mm.visualization.files import find_images, output_paths
from diff2in1_mm.visualization.predictor import Predictor, predictor_for
from diff2in1_mm.visualization.variants import Pair, variants_picture, with_legend

#: Writes the pictures of one image, given its path, its pixels (uint8 (H, W, 3), RGB) and a path without suffix.
Writer = Callable[[str, np.ndarray, str], None]


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line says."""
    cfg = Config.fromfile(diff2in1_mm.find_config(args.config))
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
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
    if args.prompt is not None:
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


class VariantMaker:
    """Makes the picture of an image's variants.

    Args:
        settings (CreationSettings): ``T`` lists the rows, ``copies_per_source`` the variants in
            each.
        seed (int): Of the noise, which is the same in all rows.
    """

    def __init__(self, settings: CreationSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.generator = settings.build_generator()

    def attach(self, predictor: Predictor, paths: Iterable[str]) -> None:
        """Take the diffusion model and the labels from a predictor, and look at all conditions.

        Raises:
            ValueError: It has no diffusion model, or one without such noise steps, or an image's
                prompt is missing or too long.
        """
        self.predictor = predictor
        try:
            diffusion = diffusion_of(predictor.model, self.settings)
            diffusion.to(next(predictor.model.parameters()).device)  # a pretrained one waits beside one that is trained
            self.attach_model(diffusion, paths)
        except ValueError as error:
            raise UserError(f'--generate: {error}') from error

    def attach_model(self, diffusion: DiffusionModel, paths: Iterable[str]) -> None:
        """Take the diffusion model alone, and look at all conditions; see :meth:`attach`."""
        self.diffusion = diffusion
        self.generator.check_model(diffusion)
        condition = self.generator.condition
        if getattr(condition, 'wants_classes', False):
            return  # of what the model will find
        with self.diffusion.text.kept():
            for path in paths if condition.per_image else ['']:
                self._embed(Source(path))

    def _embed(self, source: Source) -> Condition:
        condition = self.generator.condition.embed(self.diffusion.text, [source])
        self.diffusion.check_condition(condition)
        return condition

    def picture(self, path: str, image: np.ndarray, prediction: Any, overlay: np.ndarray) -> np.ndarray:
        """All variants of one image beside their predictions.

        Args:
            path (str): Of the image.
            image (ndarray): uint8 (H, W, 3), RGB.
            prediction (SegDataSample | DetDataSample): Of the image.
            overlay (ndarray): The prediction drawn over the image.

        Returns:
            ndarray: uint8 RGB picture.
        """
        seen = self.predictor.present(prediction)
        source = Source(path, tuple(self.predictor.classes[i] for i in seen))
        start = self._source_image(path, prediction)
        shown, rows = set(seen), []
        for T in self.settings.T:
            pairs = []
            for variant in self.variants(start, source, T):
                label = self.predictor.predict(variant)
                shown.update(self.predictor.present(label))
                pairs.append(Pair(variant, self.predictor.draw(variant, label)))
            rows.append((T, pairs))
        return variants_picture(Pair(image, overlay), rows, self._title(source, start), self.predictor.legend(shown))

    def _source_image(self, path: str, prediction: Any) -> np.ndarray:
        """At the size of the creation stage, or else at the one that the model sees."""
        scale, keep_ratio = self.settings.scale, self.settings.keep_ratio
        if scale is None:
            scale, keep_ratio = tuple(prediction.metainfo['img_shape'][1::-1]), False
        return load_image(path, scale, keep_ratio, self.predictor.turns)

    def variants(self, image: np.ndarray, source: Source, T: int) -> list[np.ndarray]:
        """uint8 (H, W, 3) RGB images; how many fit into a batch changes nothing."""
        seeds = [stable_seed(self.seed, 'demo', copy) for copy in range(self.settings.copies_per_source)]
        pixels = torch.from_numpy(image).to(self.diffusion.device).permute(2, 0, 1).float()
        condition = self._embed(source)
        variants: list[np.ndarray] = []
        for first in range(0, len(seeds), self.settings.batch_size):
            part = seeds[first : first + self.settings.batch_size]
            made = self.generator.generate(
                self.diffusion, to_unit_range(pixels).expand(len(part), -1, -1, -1), condition, part, T
            ).images
            made = to_bytes(made).permute(0, 2, 3, 1)
            variants.extend(made.cpu().numpy())
        return variants

    def _title(self, source: Source, image: np.ndarray) -> str:
        condition = self.generator.condition
        text = condition.text(source) if hasattr(condition, 'text') else type(condition).__name__
        steps = sorted({self.generator.steps_for(T) for T in self.settings.T})
        return (
            f'{osp.basename(source.img_path)}, {image.shape[1]} x {image.shape[0]}, '
            f'{self.generator.solver}, {"/".join(map(str, steps))} steps, {self._guidance()}'
            f'seed {self.seed}, prompt "{text}"'
        )

    def _guidance(self) -> str:
        scale = self.settings.guidance_scale
        return '' if scale == 1 else f'guidance {scale:g}, '


def run(out_dir: str, paths: dict[str, str], write: Writer, turn: bool = True) -> int:
    """Write all pictures; an image that cannot be read is named and left out.

    Args:
        out_dir (str): Told at the end.
        paths (dict[str, str]): Where each image's pictures go, without suffix.
        write (Writer): Writes those of one image.
        turn (bool): Apply the EXIF orientation.

    Returns:
        int: Number of images whose pictures were written.
    """
    written, skipped = 0, []
    for path, target in tqdm(paths.items(), unit='image'):
        try:
            image = load_image(path, turn=turn)
        except Exception as error:  # whatever a decoder raises on a broken file
            skipped.append(path)
            tqdm.write(f'{path} cannot be read and is left out: {error}', file=sys.stderr)
            continue
        write(path, image, target)
        written += 1
    print(
        f'{written} of {len(paths)} images: pictures in {osp.abspath(out_dir)}'
        + (f'; {len(skipped)} could not be read: {", ".join(skipped)}' if skipped else '')
    )
    return written


def prediction_writer(args: argparse.Namespace, predictor: Predictor, maker: VariantMaker | None) -> Writer:
    """Writes an image's prediction, and its variants where there is who makes them."""

    def write(path: str, image: np.ndarray, target: str) -> None:
        prediction = predictor.predict(path)
        overlay = picture = predictor.draw(image, prediction)
        if not (args.no_legend or predictor.writes_names):
            picture = with_legend(overlay, predictor.legend(predictor.present(prediction)))
        write_picture(f'{target}.png', picture)
        if maker is not None:
            write_picture(f'{target}_variants.png', maker.picture(path, image, prediction, overlay))

    return write


def look_writer(args: argparse.Namespace, paths: Iterable[str]) -> Writer:
    """Writes the features of an image and its variants, from a diffusion model alone."""
    maker = VariantMaker(creation_settings(Config({}), args), args.seed)
    backbone = DiffusionBackbone(args.diffusion).eval().to(default_device(args.device))
    maker.attach_model(backbone.diffusion, paths)
    side = trained_side(locate(args.diffusion))

    def write(path: str, image: np.ndarray, target: str) -> None:
        size = [max(1, round(edge * side / min(image.shape[:2]))) for edge in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        features = [image, *feature_pictures(backbone, image)]
        variants = [maker.variants(image, Source(path), T)[0] for T in maker.settings.T]
        titles = (
            f'{osp.basename(path)}, features of {args.diffusion} at strides {_listed(backbone.tap_strides)} pixels',
            f'variants from noise steps {_listed(maker.settings.T)}, prompt "{args.prompt or ""}"',
        )
        write_picture(f'{target}_look.png', contact_sheet([features, variants], titles))

    return write


def _listed(numbers: Iterable[int]) -> str:
    return ', '.join(map(str, numbers))


def default_device(device: str | None) -> str:
    """The device that was given, or else a GPU, if any."""
    return device or ('cuda:0' if torch.cuda.is_available() else 'cpu')


def prepare(args: argparse.Namespace) -> tuple[dict[str, str], Writer, bool]:
    """What :func:`run` takes; whatever is cheap is checked before the model is built."""
    paths = output_paths(find_images(args.image), args.out_dir)
    weights = given_checkpoint(args.checkpoint) if args.config else {}
    check_device(args.device)
    check_writable(args.out_dir, '--out-dir')
    if not 0 <= args.opacity <= 1:
        raise UserError(f'--opacity {args.opacity} must be between 0 and 1')
    if not args.config:
        return paths, look_writer(args, paths), True
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
        maker.attach(predictor, paths)
    return paths, prediction_writer(args, predictor, maker), predictor.turns


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        with misspellings_named():
            paths, write, turn = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    if not run(args.out_dir, paths, write, turn):
        sys.exit(1)


if __name__ == '__main__':
    main()
