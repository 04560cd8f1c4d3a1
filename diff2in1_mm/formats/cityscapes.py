"""Cityscapes: ``leftImg8bit/train/synthetic``, and ``gtFine/train/synthetic`` with label maps and instances."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from .samples import IGNORED, Sample

__all__ = ['write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes maps of class indices (255: ignored) as ``_labelTrainIds``, which most trainers read; of panoptic maps
    ``_instanceIds`` too: class, of countable objects class * 1000 + number."""
    for sample in samples:
        labels = folder / 'gtFine' / 'train' / 'synthetic'
        write_atomic(labels / f'{sample.id}_gtFine_labelTrainIds.png', encode_png(sample.map()))
        if sample.kind == 'panoptic':
            write_atomic(labels / f'{sample.id}_gtFine_instanceIds.png', encode_png(_instance_ids(sample)))
        sample.copy_image(folder / 'leftImg8bit' / 'train' / 'synthetic' / f'{sample.id}_leftImg8bit.png')
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def _instance_ids(sample: Sample) -> np.ndarray:
    segments = sample.annotation
    values, counts = [IGNORED], dict.fromkeys(range(segments.num_things), 0)
    for label in map(int, segments.labels):
        if label in counts:
            values.append(label * 1000 + counts[label])
            counts[label] += 1
        else:
            values.append(label)
    return np.array(values, np.uint16)[segments.ids]
