"""FiftyOne: the folders that its own importers read, COCODetectionDataset or ImageSegmentationDirectory."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from . import coco
from .samples import Sample

__all__ = ['write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes ``data/`` and, of objects, ``labels.json``; of maps ``labels/ID.png`` with class indices (255: ignored).

    To be loaded by ``fiftyone.Dataset.from_dir(FOLDER, fiftyone.types.COCODetectionDataset)`` or
    ``ImageSegmentationDirectory``.
    """
    samples = iter(samples)
    first = next(samples, None)
    if first is None or first.kind == 'instances':
        coco.write(chain(() if first is None else (first,), samples), folder, classes)
        (folder / 'annotations.json').rename(folder / 'labels.json')
        if (folder / 'images').exists():
            (folder / 'images').rename(folder / 'data')
        return
    for sample in chain((first,), samples):
        write_atomic(folder / 'labels' / f'{sample.id}.png', encode_png(sample.map()))
        sample.copy_image(folder / 'data' / f'{sample.id}.png')
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())
