"""Label maps as PNG: ``images/ID.png``, ``masks/ID.png`` with class indices (255: ignored), ``classes.txt``."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..tasks.png import decode_png, encode_png
from ..utils.atomic_files import write_atomic
from ..utils.errors import MissingFileError, UserError
from .samples import IGNORED, Labelled, Region, Sample, box_around

__all__ = ['read', 'write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes images, maps and names, a line for each class; labels of other tasks as ``TASK/ID.*``."""
    for sample in samples:
        write_atomic(folder / 'masks' / f'{sample.id}.png', encode_png(sample.map()))
        sample.copy_image(folder / 'images' / f'{sample.id}.png')
        sample.copy_others(folder)
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def read(path: Path, classes: tuple[str, ...]) -> Iterator[Labelled]:
    """Every ``masks/*.png``, or every PNG right in the folder, with one region for each class.

    Raises:
        UserError: There are none, one holds other values than class indices and 255, or ``classes.txt`` beside them
            counts other classes.
    """
    folder = path / 'masks' if (path / 'masks').is_dir() else path
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() == '.png')
    if not files:
        raise MissingFileError(f'{folder} has no *.png: give the folder of label maps')
    names = path / 'classes.txt'
    if names.is_file() and names.read_text('utf-8-sig', 'replace').strip().splitlines() != list(classes):
        raise UserError(
            f'{names} has other classes than the store, whose indices are those of {", ".join(classes)}: '
            'export maps of these, and correct or remove that file'
        )
    for file in files:
        size = _label_map(file, len(classes)).shape
        yield Labelled(file.stem, size, partial(_regions, file, len(classes)))  # read again: all at once are many


def _label_map(file: Path, classes: int) -> np.ndarray:
    content = file.read_bytes() if file.is_file() else b''
    # OpenCV reads others too: it stretches fewer bits, paints palettes, and takes a JPEG of that name
    grey = content.startswith(b'\x89PNG') and content[24:26] == b'\x08\x00'
    labels = decode_png(content) if grey else None
    if labels is None or labels.ndim != 2:
        raise UserError(f'{file} is no PNG of one channel with 8 bits: export maps of class indices')
    wrong = labels[(labels >= classes) & (labels != IGNORED)]
    if wrong.size:
        raise UserError(
            f'{file} holds the value {wrong.max()}, and the store has {classes} classes, counted from 0: '
            'export maps of class indices'
        )
    return labels


def _regions(file: Path, classes: int) -> list[Region]:
    labels = _label_map(file, classes)
    masks = [(int(value), labels == value) for value in np.unique(labels) if value != IGNORED]
    return [Region(value, box_around(mask), mask) for value, mask in masks]
