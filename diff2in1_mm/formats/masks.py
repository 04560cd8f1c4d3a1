"""Label maps as PNG: ``images/ID.png``, ``masks/ID.png`` with class indices (255: ignored), ``classes.txt``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..tasks.png import decode_png, encode_png
from ..utils.atomic_files import write_atomic
from ..utils.errors import MissingFileError, UserError
from .samples import IGNORED, Region, Sample, box_around

__all__ = ['read', 'write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes images, maps and names, a line for each class."""
    for sample in samples:
        write_atomic(folder / 'masks' / f'{sample.id}.png', encode_png(sample.map()))
        sample.copy_image(folder / 'images' / f'{sample.id}.png')
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def read(path: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int], list[Region]]]:
    """Name, size and one region for each class of every ``masks/*.png``, or of every PNG right in the folder.

    Raises:
        UserError: There are none, or one holds other values than class indices and 255.
    """
    folder = path / 'masks' if (path / 'masks').is_dir() else path
    files = sorted(folder.glob('*.png'))
    if not files:
        raise MissingFileError(f'{folder} has no *.png: give the folder of label maps')
    for file in files:
        labels = decode_png(file.read_bytes())
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise UserError(f'{file} is no label map of one channel with 8 bits: export maps of class indices')
        values = [int(value) for value in np.unique(labels) if value != IGNORED]
        if values and values[-1] >= len(classes):
            raise UserError(
                f'{file} holds the value {values[-1]}, and the store has {len(classes)} classes, counted from 0: '
                'export maps of class indices'
            )
        masks = [(value, labels == value) for value in values]
        yield file.stem, labels.shape, [Region(value, box_around(mask), mask) for value, mask in masks]
