"""Blood cells as anyone draws them who has seen some: discs on grey, with boxes. For simulated_cells.py."""

import json
from pathlib import Path

import cv2
import numpy as np

from diff2in1_mm.utils.atomic_files import write_atomic

SIZE = (240, 320)
NAMES = ('RBC', 'WBC', 'Platelets')
_SEEN = 0.3  # share of a cell below which it has no box


def draw(seed: int) -> tuple[np.ndarray, list[tuple[int, list[float]]]]:
    """A picture and its cells.

    Args:
        seed (int): Of everything in it.

    Returns:
        tuple[ndarray, list]: RGB, uint8 (240, 320, 3); of each cell the class in :data:`NAMES` and
            the box (x, y, w, h).
    """
    rng = np.random.default_rng(seed)
    image = np.full((*SIZE, 3), rng.normal((212, 206, 204), 6), np.float32)
    owner, cells = np.zeros(SIZE, np.int32), []
    kinds = [0] * rng.integers(7, 20) + [2] * rng.poisson(1) + [1] * (rng.random() < 0.9)
    for number, kind in enumerate(kinds, 1):
        centre = rng.uniform((0, 0), SIZE[::-1])
        axes = {0: rng.normal(26, 3.5, 2), 1: rng.normal(45, 10, 2), 2: rng.normal(10, 2, 2)}[kind].clip(5, 75)
        whole = _ellipse(centre, axes, rng.uniform(0, 180))
        _paint(image, whole, kind, centre, axes, rng)
        owner[whole > 0] = number
        cells.append((kind, whole > 0))
    found = []
    for number, (kind, whole) in enumerate(cells, 1):
        if (owner == number).sum() >= _SEEN * max(whole.sum(), 1) and whole.sum() > 20:
            x, y, w, h = cv2.boundingRect(whole.astype(np.uint8))
            found.append((kind, [float(x), float(y), float(w), float(h)]))
    return image.clip(0, 255).astype(np.uint8), found


def _paint(image, whole, kind: int, centre, axes, rng) -> None:
    """Colours of a cell: red ones are paler in the middle, white ones have a nucleus of lobes."""
    colour = {0: (198, 150, 142), 1: (196, 186, 214), 2: (150, 140, 200)}[kind]
    image[whole > 0] = rng.normal(colour, 8)
    if kind == 0 and rng.random() < 0.6:
        image[_ellipse(centre, axes * rng.uniform(0.3, 0.6), 0) > 0] = rng.normal((212, 186, 180), 8)
    for _ in range(rng.integers(2, 5) if kind == 1 else 0):
        lobe = _ellipse(centre + rng.uniform(-0.45, 0.45, 2) * axes, axes * rng.uniform(0.3, 0.5), rng.uniform(0, 180))
        image[(lobe > 0) & (whole > 0)] = rng.normal((122, 92, 184), 8)


def _ellipse(centre, axes, angle: float) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    whole = tuple(int(round(v)) for v in centre), tuple(max(int(round(a)), 1) for a in axes)
    return cv2.ellipse(mask, *whole, angle, 0, 360, 1, -1)


def write(root: str, count: int) -> None:
    """``images/*.png`` and ``annotations/train.json`` in BCCD's layout, below a folder."""
    folder = Path(root, 'images')
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        image, cells = draw(number)
        name = f'{number:04d}.png'
        cv2.imwrite(str(folder / name), image[..., ::-1])
        images.append(dict(id=number + 1, file_name=name, height=SIZE[0], width=SIZE[1]))
        for kind, box in cells:
            found = dict(image_id=number + 1, category_id=kind + 1, bbox=box, area=box[2] * box[3], iscrowd=0)
            annotations.append(dict(found, id=len(annotations) + 1))
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, 1)]
    Path(root, 'annotations').mkdir(exist_ok=True)
    content = dict(images=images, annotations=annotations, categories=categories)
    write_atomic(str(Path(root, 'annotations/train.json')), json.dumps(content).encode())
