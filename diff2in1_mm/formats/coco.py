"""COCO: ``images/`` and ``annotations.json``; of panoptic maps also ``panoptic.json`` and its pictures."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.coco import MAX_PER_IMAGE, box_of, image_entry, run_lengths
from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError
from .samples import Region, Sample, box_around

__all__ = ['read', 'write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes ``annotations.json`` (category ids are class indices plus 1, ``iscrowd`` stands for ignored) and images.

    Label maps become one annotation for each class in an image, as in COCO-Stuff.
    """
    images, annotations, panoptic = [], [], []
    things = None
    for sample in samples:
        image = dict(image_entry(sample.record, sample.size), file_name=f'{sample.id}.png')
        sample.copy_image(folder / 'images' / image['file_name'])
        images.append(image)
        entries = [_annotation(region, place, image) for place, region in enumerate(sample.regions())]
        annotations += entries
        if sample.kind == 'panoptic':
            things = sample.annotation.num_things
            panoptic.append(_panoptic(sample, image, folder / 'panoptic'))
    categories: list[dict[str, Any]] = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
    info = dict(description='Synthetic samples')
    whole = dict(info=info, licenses=[], images=images, annotations=annotations, categories=categories)
    write_atomic(folder / 'annotations.json', json.dumps(whole).encode())
    if things is not None:
        categories = [dict(category, isthing=int(category['id'] <= things)) for category in categories]
        whole.update(annotations=panoptic, categories=categories)
        write_atomic(folder / 'panoptic.json', json.dumps(whole).encode())


def _annotation(region: Region, place: int, image: Mapping[str, Any]) -> dict[str, Any]:
    bbox = box_of(region.box, (image['height'], image['width']))
    entry = dict(
        id=image['id'] * MAX_PER_IMAGE + place,
        image_id=image['id'],
        category_id=region.label + 1,
        bbox=bbox,
        area=bbox[2] * bbox[3],
        iscrowd=int(region.ignored),
        score=region.score,
    )
    return entry if region.mask is None else {**entry, **run_lengths(region.mask)}


def _panoptic(sample: Sample, image: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    ids = sample.annotation.ids
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    write_atomic(folder / f'{sample.id}.png', encode_png(colours))
    segments = []
    for place, label in enumerate(sample.annotation.labels):
        mask = ids == place + 1
        if mask.any():
            x1, y1, x2, y2 = map(int, box_around(mask))
            box = [x1, y1, x2 - x1, y2 - y1]
            segments.append(dict(id=place + 1, category_id=int(label) + 1, area=int(mask.sum()), bbox=box, iscrowd=0))
    return dict(image_id=image['id'], file_name=f'{sample.id}.png', segments_info=segments)


def read(path: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int], list[Region]]]:
    """Name, size and regions of each image of a COCO file, with masks where it has any.

    Raises:
        UserError: It is none, or names another class.
    """
    from pycocotools import mask as coco_mask

    path = path / 'annotations.json' if path.is_dir() else path
    try:
        content = json.loads(path.read_bytes())
        names = {category['id']: category['name'] for category in content['categories']}
        images = {image['id']: image for image in content['images']}
        by_image: dict[Any, list[dict]] = {number: [] for number in images}
        for found in content['annotations']:
            by_image[found['image_id']].append(found)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is no COCO file of objects ({error}): export one with boxes or masks') from error
    for number, image in images.items():
        size = image['height'], image['width']
        regions = []
        for found in by_image[number]:
            x, y, width, height = found['bbox']
            mask, outline = None, found.get('segmentation')
            if outline:
                if isinstance(outline, list):
                    outline = coco_mask.merge(coco_mask.frPyObjects(outline, *size))
                elif isinstance(outline['counts'], list):
                    outline = coco_mask.frPyObjects(outline, *size)
                mask = coco_mask.decode(outline).astype(bool)
            label = class_index(names[found['category_id']], classes, path)
            score = float(found.get('score', 1.0))
            regions.append(Region(label, (x, y, x + width, y + height), mask, score, bool(found.get('iscrowd'))))
        yield Path(image['file_name']).stem, size, regions


def class_index(name: str, classes: tuple[str, ...], path: Path) -> int:
    """The place of a name among the store's classes.

    Raises:
        UserError: It is none of them.
    """
    if name not in classes:
        raise UserError(f'{path} names the class {name!r}, and the store has {", ".join(classes)}: rename it there')
    return classes.index(name)
