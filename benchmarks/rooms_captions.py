"""Do captions change what the embedded model draws? Figures, and a picture to look at.

    python benchmarks/rooms_captions.py --out docs/images/rooms_captions.jpg

Each caption is drawn from pure noise with the same seeds. Which of the nine wall colours was asked
for is guessed from the upper part of the picture, by what that part looks like in real rooms; chance
is one in nine, and other real rooms show how well the guess can do.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.diffusion.loading.embedded import FOLDER
from diff2in1_mm.pretraining.pipeline_files import load_pipeline
from diff2in1_mm.utils.pictures import contact_sheet, write_picture

WALLS = ('white', 'beige', 'grey', 'blue', 'green', 'pink', 'yellow', 'teal', 'orange')
ROOM = 'a room with a wooden floor and {} walls'
SHOWN = [
    ROOM.format('blue'),
    ROOM.format('orange'),
    ROOM.format('blue') + ', a red ball beside a blue cupboard',
    ROOM.format('blue') + ', a yellow sofa',
]


def draw(pipeline: StableDiffusionPipeline, captions: Sequence[str], args) -> list[np.ndarray]:
    """A picture (128, 128, 3) uint8 for each caption, all from the same noise per place."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(captions))]
    return list(
        (
            pipeline(
                list(captions),
                num_inference_steps=args.steps,
                generator=generators,
                guidance_scale=args.guidance,
                height=128,
                width=128,
                output_type='np',
            ).images
            * 255
        )
        .round()
        .astype(np.uint8)
    )


def wall_colours(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Median of the upper 40 % of pictures, CIELAB (n, 3), lightness, which lamps change, less."""
    upper = np.array([np.median(p[: len(p) * 2 // 5].reshape(-1, 3), 0) for p in pictures])
    lab = cv2.cvtColor((upper[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return lab * (0.3, 1, 1)


class WallGuess:
    """Names the wall colour whose real rooms look most like a picture.

    Args:
        pictures, names: Real rooms, and the wall colours in their captions.
    """

    def __init__(self, pictures: Sequence[np.ndarray], names: Sequence[str]) -> None:
        found = wall_colours(pictures)
        self.means = np.stack([found[np.array(names) == name].mean(0) for name in WALLS])

    def right(self, pictures: Sequence[np.ndarray], names: Sequence[str]) -> float:
        """Share of pictures for which the guess is the name."""
        distance = np.linalg.norm(wall_colours(pictures)[:, None] - self.means[None], axis=-1)
        return float(np.mean([WALLS[i] == name for i, name in zip(distance.argmin(1), names)]))


def red_share(pictures: Sequence[np.ndarray]) -> float:
    """Share of clearly red pixels."""
    hsv = [cv2.cvtColor(p, cv2.COLOR_RGB2HSV) for p in pictures]
    return float(np.mean([((h[..., 0] < 8) | (h[..., 0] > 172)) & (h[..., 1] > 140) & (h[..., 2] > 60) for h in hsv]))


def real_rooms(first: int, count: int):
    """Rooms that were never seen, and the wall colours in their captions."""
    rooms = [render_room(2**31 + first + i, (128, 128)) for i in range(count)]
    names = [room.caption.split(' floor and ')[1].split(' walls')[0] for room in rooms]
    return [room.image for room in rooms], names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pipeline', default=str(FOLDER), help='diffusers folder')
    parser.add_argument('--guidance', type=float, default=3.0)
    parser.add_argument('--steps', type=int, default=25)
    parser.add_argument('--count', type=int, default=8, help='pictures of each caption')
    parser.add_argument('--out', type=Path, help='a picture of some captions')
    args = parser.parse_args()
    pipeline = load_pipeline(args.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    guess = WallGuess(*real_rooms(0, 200))
    drawn = [picture for name in WALLS for picture in draw(pipeline, [ROOM.format(name)] * args.count, args)]
    asked = [name for name in WALLS for _ in range(args.count)]
    print(
        f'wall colour as asked for in {guess.right(drawn, asked):.0%} of {len(drawn)} pictures, '
        f'as in the caption in {guess.right(*real_rooms(200, 100)):.0%} of 100 real rooms'
    )
    rows = [draw(pipeline, [caption] * args.count, args) for caption in SHOWN]
    print(f'red pixels: {red_share(rows[0]):.1%} without, {red_share(rows[2]):.1%} with a red ball')
    if args.out:
        write_picture(args.out, contact_sheet(rows, SHOWN, height=128))


if __name__ == '__main__':
    main()
