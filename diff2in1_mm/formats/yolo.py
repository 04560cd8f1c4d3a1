"""YOLO (Ultralytics): ``images/train``, ``labels/train/ID.txt``, ``data.yaml``."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ..utils.errors import UserError
from .samples import Region, Sample

__all__ = ['write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes a line for each object: class and box, or class and outline where it has a mask.

    Ignored objects are left out, since YOLO has none. An outline has no holes and one part: parts are joined by a line
    out and back, as Ultralytics' converter of COCO does; how many objects that changes is told in a warning.

    Raises:
        UserError: The store holds label maps.
    """
    changed = 0
    for sample in samples:
        if sample.kind == 'segmentation':
            raise UserError('yolo holds objects, and the store has label maps: choose masks, cityscapes, coco or voc')
        lines = []
        for region in sample.regions():
            if region.ignored:
                continue
            points, same = _points(region, sample.size)
            changed += not same
            lines.append(' '.join([str(region.label), *(f'{value:.9g}' for value in points)]))
        path = folder / 'labels' / 'train' / f'{sample.id}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'{line}\n' for line in lines))
        sample.copy_image(folder / 'images' / 'train' / f'{sample.id}.png')
    folder.mkdir(parents=True, exist_ok=True)
    # without `path`, folders are looked for beside the file; '.' would be where its reader stands
    names = ''.join(f'  {number}: {json.dumps(name)}\n' for number, name in enumerate(classes))
    (folder / 'data.yaml').write_text(f'train: images/train\nval: images/train\nnames:\n{names}')
    if changed:
        warnings.warn(
            f'{changed} masks have holes or several parts, which outlines of YOLO have not: use coco for them'
        )


def _points(region: Region, size: tuple[int, int]) -> tuple[list[float], bool]:
    """Numbers of a line, as shares of the image's sides, and whether they say the mask to the pixel."""
    height, width = size
    if region.mask is None:
        x1, y1, x2, y2 = region.box
        return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height], True
    mask = np.ascontiguousarray(region.mask, np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = [outline[:, 0] for outline in outlines]
    start = parts[0][:1]
    way = np.concatenate([np.concatenate([part, part[:1], start]) if len(parts) > 1 else part for part in parts])
    while len(way) < 3:  # a point or a line is no outline
        way = np.concatenate([way, way[-1:]])
    drawn = cv2.fillPoly(np.zeros_like(mask), [way.astype(np.int32)], 1)
    return (way / [width, height]).ravel().tolist(), bool((drawn == mask).all())
