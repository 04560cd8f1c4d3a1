"""COCO: ``images/`` and ``annotations.json``; of panoptic maps also ``panoptic.json`` and its pictures."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.coco import MAX_PER_IMAGE, box_of, image_entry, run_lengths
from ..tasks.png import encode_png
from ..utils.atomic_files import write_atomic
from ..utils.errors import MissingFileError, UserError, first_line
from .entries import as_number, as_numbers, class_index, mask_of_outline, mask_of_runs, shown, size_said
from .samples import Labelled, Region, Sample, box_around

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


def read(path: Path, classes: tuple[str, ...]) -> Iterator[Labelled]:
    """The images of a COCO file, with masks where it has any.

    Raises:
        UserError: It is none, names another class, or has a malformed entry.
    """
    path = path / 'annotations.json' if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(f"there is no {path}: give COCO's JSON file, or the folder of its annotations.json")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no COCO file ({first_line(error)}): export one with boxes or masks') from error
    categories, images = (_by_id(content, key, path) for key in ('categories', 'images'))
    by_image: dict[Any, list[tuple[str, dict]]] = {number: [] for number in images}
    for where, found in _entries(content, 'annotations', path):
        _listed(found, 'image_id', by_image, where).append((where, found))
    for id, (where, image) in images.items():
        name = image.get('file_name')
        if not isinstance(name, str):
            raise UserError(f'{where} has {shown(name)} as file_name, by which its sample is found: name its file')
        size = size_said(image, where)
        yield Labelled(Path(name).stem, size, partial(_regions, by_image[id], size, categories, classes))


def _entries(content: Any, key: str, path: Path) -> list[tuple[str, dict]]:
    """The entries of a list, and how sentences name them: by their ids, else by their places from 0."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f'{path} is no COCO file, as it has no list of {key}: export one with boxes or masks')
    named = []
    for place, entry in enumerate(entries):
        where = f'{path}: {key}[{place}]'
        if not isinstance(entry, dict):
            raise UserError(f'{where} is {shown(entry)}, where an object in braces belongs: correct or remove it')
        named.append((where if entry.get('id') is None else f'{where} (id {shown(entry["id"])})', entry))
    return named


def _by_id(content: Any, key: str, path: Path) -> dict[Any, tuple[str, dict]]:
    found: dict[Any, tuple[str, dict]] = {}
    for where, entry in _entries(content, key, path):
        id = entry.get('id')
        if id is None or not isinstance(id, Hashable) or id in found:
            raise UserError(f'{where} has no id of its own: give each of the {key} another one')
        found[id] = where, entry
    return found


def _listed(entry: Mapping[str, Any], key: str, known: Mapping[Any, Any], where: str) -> Any:
    """What an entry refers to by an id."""
    id = entry.get(key)
    if not isinstance(id, Hashable) or id not in known:
        raise UserError(f'{where} has {shown(id)} as {key}, which the file does not list: correct or remove it')
    return known[id]


def _regions(
    entries: list[tuple[str, dict]],
    size: tuple[int, int],
    categories: Mapping[Any, tuple[str, dict]],
    classes: tuple[str, ...],
) -> list[Region]:
    regions = []
    for where, found in entries:
        _, category = _listed(found, 'category_id', categories, where)
        label = class_index(category.get('name'), classes, where)
        x, y, width, height = as_numbers(found.get('bbox'), where, 'bbox', 4)
        outline, crowd = found.get('segmentation'), found.get('iscrowd')
        if crowd not in (None, 0, 1):
            raise UserError(f'{where} has {shown(crowd)} as iscrowd, where 0 or 1 belongs: correct or remove it')
        mask = _mask(outline, size, where) if outline else None
        score = as_number(found.get('score', 1.0), where, 'score')
        regions.append(Region(label, (x, y, x + width, y + height), mask, score, bool(crowd), where))
    return regions


def _mask(outline: Any, size: tuple[int, int], where: str) -> np.ndarray:
    if isinstance(outline, list):
        return mask_of_outline(outline, size, where)
    if not isinstance(outline, dict) or outline.get('size') != list(size):
        raise UserError(
            f'{where} has {shown(outline)} as segmentation, where outlines or run lengths of the size {list(size)} '
            'belong: correct or remove it'
        )
    counts = outline.get('counts')
    runs = _expanded(counts, where) if isinstance(counts, str) else as_numbers(counts, where, 'counts', whole=True)
    return mask_of_runs(runs, size[::-1], where).T


def _expanded(counts: str, where: str) -> np.ndarray:
    """Run lengths out of COCO's compressed ones, to be counted: pycocotools takes those that do not fill a mask, and
    the rest is what its memory held before.

    A character has five bits of a number, the lowest first, and a sixth that says whether more follow; the sign is the
    highest bit. From the fourth on the numbers are differences to the run two before.
    """
    bits = np.frombuffer(counts.encode('utf-8', 'surrogatepass'), np.uint8).astype(int) - 48
    last = bits & 32 == 0
    starts = np.flatnonzero(np.append(True, last[:-1]))
    places = np.arange(len(bits)) - np.repeat(starts, np.diff(np.append(starts, len(bits))))
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or not last[-1] or places.max() > 6:
        raise UserError(
            f'{where} has {shown(counts)} as counts, which are no run lengths: export it again, or remove it'
        )
    runs = np.add.reduceat((bits & 31) << 5 * places, starts)
    runs -= np.where(bits[last] & 16, 32 << 5 * places[last], 0)
    for chain in (runs[1::2], runs[2::2]):
        np.cumsum(chain, out=chain)
    return runs
