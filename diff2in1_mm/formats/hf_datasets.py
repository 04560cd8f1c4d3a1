"""Hugging Face datasets: images and ``metadata.jsonl``, for ``load_dataset('imagefolder', data_dir=FOLDER)``."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from .samples import Sample

__all__ = ['described', 'write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes ``train/``: images, what is said of each, and maps of class indices (255: ignored) or of objects' numbers,
    which are loaded as the columns ``image``, ``label_map`` and ``objects``; pictures of other tasks as columns of
    their names, other files of theirs by the path from ``train/``."""
    lines = []
    for sample in samples:
        sample.copy_image(folder / 'train' / 'images' / f'{sample.id}.png')
        line = dict(file_name=f'images/{sample.id}.png', **described(sample))
        if sample.kind != 'instances':
            write_atomic(folder / 'train' / 'labels' / f'{sample.id}.png', encode_png(sample.map()))
            line['label_map_file_name'] = f'labels/{sample.id}.png'
        for task, path in sample.copy_others(folder / 'train').items():
            column = f'{task}_file_name' if path.suffix == '.png' else f'{task}_path'
            line[column] = path.relative_to(folder / 'train').as_posix()
        lines.append(json.dumps(line))
    write_atomic(folder / 'train' / 'metadata.jsonl', ''.join(f'{line}\n' for line in lines).encode())
    write_atomic(folder / 'classes.txt', '\n'.join([*classes, '']).encode())


def described(sample: Sample) -> dict[str, Any]:
    """What is said of a sample beside its map, JSON types; objects with their masks as COCO's run lengths."""
    from ..tasks.coco import run_lengths

    told: dict[str, Any] = dict(id=sample.id, caption=sample.record.caption, by_hand=bool(sample.record.by_hand))
    if sample.kind == 'segmentation':
        return told
    regions = sample.regions()
    masks = [None if r.mask is None else run_lengths(r.mask)['segmentation'] for r in regions]
    told['objects'] = dict(
        bbox=[[r.box[0], r.box[1], r.box[2] - r.box[0], r.box[3] - r.box[1]] for r in regions],
        category=[r.label for r in regions],
        score=[r.score for r in regions],
        ignored=[r.ignored for r in regions],
    )
    if masks and None not in masks:
        told['objects']['mask'] = [mask['counts'] for mask in masks if mask]
    return told
