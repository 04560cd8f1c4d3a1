"""Do captions change what the embedded model draws? Figures, and a picture to look at.

    python benchmarks/rooms_captions.py --out docs/images/rooms_captions.jpg

Each caption is drawn from pure noise with the same seeds. Which of the nine wall colours was asked
for is guessed from the upper part of the picture; chance is one in nine, and real rooms show how
well the guess can do.
"""
import argparse
from pathlib import Path
from typing import List, Sequence

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from diff2in1_mm.datasets import render_room
from diff2in1_mm.datasets.rooms.materials import COLOURS
from diff2in1_mm.diffusion.embedded import FOLDER
from diff2in1_mm.models.diffusion_training.pipeline_files import load_pipeline
from diff2in1_mm.visualization.sheets import contact_sheet, write_picture

WALLS = ('white', 'beige', 'grey', 'blue', 'green', 'pink', 'yellow', 'teal', 'orange')
ROOM = 'a room with a wooden floor and {} walls'
SHOWN = [ROOM.format('blue'), ROOM.format('orange'),
         ROOM.format('blue') + ', a red ball beside a blue cupboard',
         ROOM.format('blue') + ', a yellow sofa']


def draw(pipeline: StableDiffusionPipeline, captions: Sequence[str], args) -> List[np.ndarray]:
    """A picture (128, 128, 3) uint8 for each caption, all from the same noise per place."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(captions))]
    return list((pipeline(list(captions), num_inference_steps=args.steps, generator=generators,
                          guidance_scale=args.guidance, height=128, width=128,
                          output_type='np').images * 255).round().astype(np.uint8))


def to_lab(colours: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1], (n, 3) -> CIELAB with less weight on lightness, which lamps change."""
    lab = cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return lab * (0.3, 1, 1)


def guess_walls(pictures: Sequence[np.ndarray]) -> List[str]:
    """The wall colour whose name is nearest to the median of a picture's upper 40 %."""
    names = to_lab(np.array([COLOURS[name] for name in WALLS]))
    upper = np.array([np.median(p[:len(p) * 2 // 5].reshape(-1, 3), 0) / 255 for p in pictures])
    distance = np.linalg.norm(to_lab(upper)[:, None] - names[None], axis=-1)
    return [WALLS[i] for i in distance.argmin(1)]


def red_share(pictures: Sequence[np.ndarray]) -> float:
    """Share of clearly red pixels."""
    hsv = [cv2.cvtColor(p, cv2.COLOR_RGB2HSV) for p in pictures]
    return float(np.mean([((h[..., 0] < 8) | (h[..., 0] > 172)) & (h[..., 1] > 140)
                          & (h[..., 2] > 60) for h in hsv]))


def real_rooms(count: int):
    """Rooms that were never seen, and the wall colours in their captions."""
    rooms = [render_room(2**31 + i, (128, 128)) for i in range(count)]
    names = [room.caption.split(' floor and ')[1].split(' walls')[0] for room in rooms]
    return [room.image for room in rooms], names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pipeline', default=str(FOLDER), help='diffusers folder')
    parser.add_argument('--guidance', type=float, default=3.0)
    parser.add_argument('--steps', type=int, default=25)
    parser.add_argument('--count', type=int, default=8, help='pictures of each caption')
    parser.add_argument('--out', type=Path, help='a picture of some captions')
    args = parser.parse_args()
    pipeline = load_pipeline(args.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    right = []
    for name in WALLS:
        pictures = draw(pipeline, [ROOM.format(name)] * args.count, args)
        right += [guess == name for guess in guess_walls(pictures)]
    print(f'drawn: wall colour as asked for in {np.mean(right):.0%} of {len(right)} pictures')
    pictures, names = real_rooms(100)
    right = [guess == name for guess, name in zip(guess_walls(pictures), names)]
    print(f'real rooms: wall colour as in the caption in {np.mean(right):.0%} of 100')
    rows = [draw(pipeline, [caption] * args.count, args) for caption in SHOWN]
    print(f'red pixels: {red_share(rows[0]):.1%} without, {red_share(rows[2]):.1%} with a red ball')
    if args.out:
        write_picture(args.out, contact_sheet(rows, SHOWN, height=128))


if __name__ == '__main__':
    main()
