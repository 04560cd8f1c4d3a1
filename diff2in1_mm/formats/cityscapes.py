"""Cityscapes: ``leftImg8bit/train/synthetic``, and ``gtFine/train/synthetic`` with label maps and instances."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError
from .samples import Sample

__all__ = ['write']

_MOST_CLASSES = 64  # of objects: 64,999 is the largest value


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes maps of class indices (255: ignored) as ``_labelTrainIds``, which most trainers read; of panoptic maps
    ``_instanceIds`` too: class + 1, of countable objects (class + 1) * 1000 + number; 0 where there is none. Classes
    count from 1 there, since those of objects begin with class 0, whose instances could not be told from stuff.

    Raises:
        UserError: More classes of objects, or objects of one, than these 16 bits hold.
    """
    for sample in samples:
        labels = folder / 'gtFine' / 'train' / 'synthetic'
        write_atomic(labels / f'{sample.id}_gtFine_labelTrainIds.png', encode_png(sample.map()))
        if sample.kind == 'panoptic':
            write_atomic(labels / f'{sample.id}_gtFine_instanceIds.png', encode_png(_instance_ids(sample)))
        sample.copy_image(folder / 'leftImg8bit' / 'train' / 'synthetic' / f'{sample.id}_leftImg8bit.png')
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def _instance_ids(sample: Sample) -> np.ndarray:
    segments = sample.annotation
    values, counts = [0], dict.fromkeys(range(segments.num_things), 0)
    for label in map(int, segments.labels):
        if label in counts:
            if label >= _MOST_CLASSES or counts[label] >= 1000:
                raise UserError(
                    f'cityscapes numbers 1000 objects of each of {_MOST_CLASSES} classes, and {sample.id} has more: '
                    'choose coco'
                )
            values.append((label + 1) * 1000 + counts[label])
            counts[label] += 1
        else:
            values.append(label + 1)
    return np.array(values, np.uint16)[segments.ids]
