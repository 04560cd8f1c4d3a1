"""Predicts images and writes the predictions as pictures; with --generate also variants of them."""

import argparse
import glob
import os
import os.path as osp
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from diff2in1_commands import SOLVERS, add_config_options, new_parser, stop

EXAMPLES = """\
examples:
  python demo/image_demo.py photo.jpg configs/diff2in1_camvid.py work_dirs/diff2in1_camvid/iter_1200.pth
  python demo/image_demo.py 'photos/**/*.png' CONFIG CHECKPOINT --out-dir pictures --opacity 0.7
  # what the creation stage would make of this photograph, and how the model labels it
  python demo/image_demo.py photo.jpg CONFIG CHECKPOINT --generate --T 200 400 600 --copies 2"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__, EXAMPLES)
    parser.add_argument('image', help='image file, folder, or glob (in quotes; ** looks deeper)')
    parser.add_argument('config', help='config file, or the name of one of ours')
    # Optional here, so that its absence is told with what to give.
    parser.add_argument('checkpoint', nargs='?', help='trained weights (.pth)')
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
        default=[200, 400, 600],
        help='steps to which the image is noised, one row each; default 200 400 600',
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

import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.creation.create import diffusion_of
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.conditions.path_table import IMAGE_SUFFIXES
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.hooks.read_checkpoint import check_checkpoint, load_weights, read_checkpoint
from diff2in1_mm.launch.config import creation_of, give_preprocessor
from diff2in1_mm.preflight.machine import check_device, check_writable
from diff2in1_mm.utils.configs import type_name
from diff2in1_mm.utils.errors import MissingFileError, UserError, misspellings_named
from diff2in1_mm.utils.image_values import to_bytes, to_unit_range
from diff2in1_mm.utils.optional import scope_of
from diff2in1_mm.utils.pictures import write_picture
from diff2in1_mm.utils.randomness import stable_seed
from diff2in1_mm.visualization.predictor import Predictor, predictor_for
from diff2in1_mm.visualization.variants import Pair, variants_picture, with_legend


def find_images(pattern: str) -> list[str]:
    """Image files that a file, folder or glob names, sorted.

    Raises:
        FileNotFoundError: There are none.
    """
    if osp.isfile(pattern):
        return [pattern]
    if osp.isdir(pattern):
        names = sorted(name for name in os.listdir(pattern) if _is_image(name))
        if not names:
            raise MissingFileError(
                f'the folder {pattern} holds no images '
                f'({", ".join(IMAGE_SUFFIXES)}); for folders inside it give a '
                f"glob such as '{osp.join(pattern, '**', '*.jpg')}'"
            )
        return [osp.join(pattern, name) for name in names]
    found = sorted(path for path in glob.glob(pattern, recursive=True) if osp.isfile(path) and _is_image(path))
    if not found:
        raise MissingFileError(
            f'there is no image, folder or match of a glob at {pattern!r}: '
            'give the path of an image file or of a folder of images'
        )
    return found


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES) and not osp.basename(path).startswith('.')


def output_paths(images: Sequence[str], folder: str) -> dict[str, str]:
    """Where each image's picture goes, without suffix: no two at the same place.

    Raises:
        ValueError: A picture would replace one of the images.
    """
    root = osp.commonpath([osp.dirname(osp.abspath(path)) for path in images])
    relative = {path: osp.relpath(osp.abspath(path), root) for path in images}
    stems = [osp.splitext(name)[0] for name in relative.values()]
    paths = {
        path: osp.join(folder, stem if stems.count(stem) == 1 else relative[path]) for path, stem in zip(images, stems)
    }
    inputs = {osp.realpath(path) for path in images}
    for path in paths.values():
        if osp.realpath(f'{path}.png') in inputs:
            raise UserError(
                f'{path}.png is one of the images and would be replaced by its picture: give another --out-dir'
            )
    return paths


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
    return CreationSettings.from_dict(dict(settings, T=args.T, copies_per_source=args.copies))


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
            self.diffusion = diffusion_of(predictor.model, self.settings)
            self.generator.check_model(self.diffusion)
            condition = self.generator.condition
            if getattr(condition, 'wants_classes', False):
                return  # of what the model will find
            with self.diffusion.text.kept():
                for path in paths if condition.per_image else ['']:
                    self._embed(Source(path))
        except ValueError as error:
            raise UserError(f'--generate: {error}') from error

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
            for variant in self._variants(start, source, T):
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

    def _variants(self, image: np.ndarray, source: Source, T: int) -> list[np.ndarray]:
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


def run(
    args: argparse.Namespace, paths: dict[str, str], predictor: Predictor, maker: VariantMaker | None = None
) -> int:
    """Write all pictures; an image that cannot be read is named and left out.

    Returns:
        int: Number of images whose pictures were written.
    """
    written, skipped = 0, []
    for path, target in tqdm(paths.items(), unit='image'):
        try:
            image = load_image(path, turn=predictor.turns)
        except Exception as error:  # whatever a decoder raises on a broken file
            skipped.append(path)
            tqdm.write(f'{path} cannot be read and is left out: {error}', file=sys.stderr)
            continue
        prediction = predictor.predict(path)
        overlay = picture = predictor.draw(image, prediction)
        if not (args.no_legend or predictor.writes_names):
            picture = with_legend(overlay, predictor.legend(predictor.present(prediction)))
        write_picture(f'{target}.png', picture)
        if maker is not None:
            write_picture(f'{target}_variants.png', maker.picture(path, image, prediction, overlay))
        written += 1
    print(
        f'{written} of {len(paths)} images: pictures in {osp.abspath(args.out_dir)}'
        + (f'; {len(skipped)} could not be read: {", ".join(skipped)}' if skipped else '')
    )
    return written


def prepare(args: argparse.Namespace) -> tuple[dict[str, str], Predictor, VariantMaker | None]:
    """What :func:`run` takes; whatever is cheap is checked before the model is built."""
    paths = output_paths(find_images(args.image), args.out_dir)
    weights = given_checkpoint(args.checkpoint)
    check_device(args.device)
    check_writable(args.out_dir, '--out-dir')
    if not 0 <= args.opacity <= 1:
        raise UserError(f'--opacity {args.opacity} must be between 0 and 1')
    cfg = load_config(args)
    if 'meta' not in weights and scope_of(cfg) == 'mmseg':  # which asks for it
        raise UserError(
            f'{args.checkpoint} holds weights alone, without the names of the classes '
            '(`meta`): give the file that tools/train.py wrote'
        )
    maker = VariantMaker(creation_settings(cfg, args), args.seed) if args.generate else None
    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    predictor = predictor_for(cfg, args.checkpoint, device, args.opacity, args.score_thr)
    load_weights(predictor.model, weights, args.checkpoint)  # the libraries would only warn
    if scope_of(cfg) == 'mmseg':
        from diff2in1_mm.models.segmentors.windows import batch_windows  # of MMSegmentation, which detectors do without

        batch_windows(predictor.model)
    if maker is not None:
        maker.attach(predictor, paths)
    return paths, predictor, maker


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        with misspellings_named():
            paths, predictor, maker = prepare(args)
    except (OSError, ImportError, ValueError) as error:
        stop(error)
    if not run(args, paths, predictor, maker):
        sys.exit(1)


if __name__ == '__main__':
    main()
