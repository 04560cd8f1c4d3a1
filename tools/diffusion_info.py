"""Prints what a diffusion model is and what it gives: family, size, strides, taps, levels, what it is told.

With --image also a picture of its features: their three strongest principal components as colours, per stride."""

import argparse
import os.path as osp

from diff2in1_commands import new_parser, program

_SD_STEPS = (50, 200, 400, 600, 800)


def parse_args(argv=None) -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        'source', help='folder, hub id or file of a diffusion model, see docs/models.md; one is diff2in1_mm/rooms'
    )
    parser.add_argument('--dtype', default='fp32', help='fp32, fp16 or bf16')
    parser.add_argument('--image', help='whose features are drawn')
    parser.add_argument('--out', default='features.png', help='that picture')
    parser.add_argument('--taps', nargs='+', default=['decoder'], help="'decoder', 'all' or names; of the picture")
    parser.add_argument('--timestep', type=int, default=1, help='level of the pass of the picture')
    parser.add_argument('--label', type=int, help='class that a class-conditional model is told; of the picture')
    parser.add_argument('--device', help="default: 'cuda' where there is a GPU, else 'cpu'")
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # what is asked or misspelt is told before the libraries are imported

from typing import Any

import numpy as np
import torch

import diff2in1_mm  # noqa: F401  (checks versions and registers all modules)
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.diffusion.contract import DiffusionModel
from diff2in1_mm.diffusion.families import family_of, load_diffusion
from diff2in1_mm.diffusion.schedules import noise_ratio_of_sd
from diff2in1_mm.diffusion.taps import select_taps
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.preflight.machine import check_device, check_writable
from diff2in1_mm.utils.errors import UnusableFileError, UserError, first_line, told_in_a_sentence
from diff2in1_mm.utils.pictures import contact_sheet, picture_format, write_picture
from diff2in1_mm.visualization.features import feature_pictures


def describe(model: DiffusionModel, family: str) -> list[str]:
    """What a model is, a line each."""
    numbers = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    total = sum(numbers.values())
    parts = ', '.join(f'{name} {number / 1e6:.1f} million' for name, number in numbers.items())
    equal = ', '.join(f'{T}: {model.level_at(noise_ratio_of_sd(T))}' for T in _SD_STEPS)
    passes = f'; made for {model.few_steps} passes' if model.few_steps else ''
    half = ' or '.join(name for name in model.dtypes if name != 'fp32')
    lines = [
        f'{model.source}: {family}',
        f'parameters: {total / 1e6:.1f} million ({parts})',
        f'memory of the weights: {total * 4 / 2**30:.2f} GiB in fp32, {total * 2 / 2**30:.2f} GiB in {half}',
        f'image sides are padded to multiples of {model.stride} pixels',
        f'levels: 1 to {model.num_train_timesteps - 1}{passes}; steps of Stable Diffusion with equal noise: {equal}',
        f'told: {_told(model)}',
    ]
    chosen = {tap.name for group in select_taps(model.taps(), 'decoder') for tap in group}
    for group in select_taps(model.taps(), 'all'):
        lines.append(f'taps of stride {group[0].stride} (* by default):')
        lines += [f'  {"*" if tap.name in chosen else " "} {tap.name}, {tap.channels} channels' for tap in group]
    return lines


def _told(model: Any) -> str:
    if not model.has_text:
        classes = model.denoiser.config.get('num_class_embeds')
        return f'one of {classes} classes, 0 to {classes - 1}' if classes else 'no text'
    try:
        condition = model.text.embed([''])
    except UserError as error:
        return f'texts, but {error}'
    _, tokens, channels = condition.sequence.shape
    pooled = '' if condition.pooled is None else f' and a pooled text of {condition.pooled.shape[1]} channels'
    return f'texts; the empty one as {tokens} tokens of {channels} channels{pooled}'


def draw(backbone: DiffusionBackbone, image: np.ndarray, title: str) -> np.ndarray:
    """The image and its features, one picture per stride."""
    pictures = [image, *feature_pictures(backbone, image)]
    return contact_sheet([pictures], [f'{title}, strides {", ".join(map(str, backbone.tap_strides))}'])


def _image(path: str) -> np.ndarray:
    try:
        return load_image(path)
    except OSError as error:
        raise UnusableFileError(f'--image {path} cannot be read ({first_line(error)}): give a picture') from error


def main(argv=None) -> None:
    args = parse_args(argv)
    with told_in_a_sentence(program()):
        if args.image:
            check_device(args.device)
            picture_format(args.out)
            check_writable(osp.dirname(args.out) or '.', '--out')
            image = _image(args.image)
        family = family_of(args.source).name
        if not args.image:
            print('\n'.join(describe(load_diffusion(args.source, dtype=args.dtype), family)))
            return
        taps = args.taps[0] if args.taps[0] in ('decoder', 'all') else args.taps
        told = None if args.label is None else dict(type='ClassLabel', label=args.label)
        backbone = DiffusionBackbone(
            dict(source=args.source, dtype=args.dtype), taps=taps, timestep=args.timestep, condition=told
        )
        print('\n'.join(describe(backbone.diffusion, family)))
        picture = draw(
            backbone.eval().to(args.device or ('cuda' if torch.cuda.is_available() else 'cpu')),
            image,
            f'{args.source}, level {args.timestep}',
        )
        write_picture(args.out, picture)
        print(f'{args.out} shows the features of {args.image}.')


if __name__ == '__main__':
    main()
