"""CVAT for images 1.1: ``annotations.xml`` with boxes and masks, and ``images/``."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..utils.errors import MissingFileError, UserError
from ..utils.pictures import label_colours
from .entries import as_number, as_numbers, class_index, mask_of_outline, mask_of_runs, size_said
from .samples import Labelled, Region, Sample, box_around

__all__ = ['read', 'write']

_SHAPES = ('box', 'mask', 'polygon')
_IGNORED = 'ignored'  # attribute of what the loss is to leave alone


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes what a task of CVAT takes by "upload annotations", format "CVAT 1.1"; create it with the images."""
    root = ET.Element('annotations')
    ET.SubElement(root, 'version').text = '1.1'
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, 'meta'), 'task'), 'labels')
    for name, colour in zip(classes, label_colours(len(classes))):
        label = ET.SubElement(labels, 'label')
        ET.SubElement(label, 'name').text = name
        ET.SubElement(label, 'color').text = '#{:02x}{:02x}{:02x}'.format(*colour)
        attribute = ET.SubElement(ET.SubElement(label, 'attributes'), 'attribute')
        for key, text in (('name', _IGNORED), ('input_type', 'checkbox'), ('default_value', 'false'), ('values', '')):
            ET.SubElement(attribute, key).text = text
    for number, sample in enumerate(samples):
        name = sample.copy_image(folder / 'images' / f'{sample.id}.png').name
        height, width = map(str, sample.size)
        image = ET.SubElement(root, 'image', dict(id=str(number), name=name, width=width, height=height))
        for region in sample.regions():
            shared = dict(label=classes[region.label], source='auto', occluded='0', z_order='0')
            kind, own = ('box', _box(region)) if region.mask is None else ('mask', _mask(region.mask))
            shape = ET.SubElement(image, kind, {**shared, **own})
            ET.SubElement(shape, 'attribute', name=_IGNORED).text = str(region.ignored).lower()
    ET.indent(root)
    folder.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(folder / 'annotations.xml', encoding='utf-8', xml_declaration=True)


def _box(region: Region) -> dict[str, str]:
    return {name: f'{value:.3f}' for name, value in zip(('xtl', 'ytl', 'xbr', 'ybr'), region.box)}


def _mask(mask: np.ndarray) -> dict[str, str]:
    """Lengths of runs of 0 and 1 in turn, row by row within the box around it, 0 first."""
    x1, y1, x2, y2 = map(int, box_around(mask))
    values = mask[y1:y2, x1:x2].ravel()
    ends = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff([0, *ends, len(values)]).tolist()
    if values[0]:
        runs.insert(0, 0)
    place = dict(left=x1, top=y1, width=x2 - x1, height=y2 - y1)
    return dict(rle=', '.join(map(str, runs)), **{name: str(value) for name, value in place.items()})


def read(path: Path, classes: tuple[str, ...]) -> Iterator[Labelled]:
    """The images of an exported ``annotations.xml``: boxes, masks and polygons, in the order in which they lie over
    each other.

    Raises:
        UserError: It is no such file, names another class, or has a malformed shape or one of another kind.
    """
    path = path / 'annotations.xml' if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(f'there is no {path}: export the task from CVAT as "CVAT for images 1.1"')
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter two of encodings
        raise UserError(f'{path} is no "CVAT for images 1.1" ({error}): export the task so') from error
    images = root.findall('image')
    if not images or root.find('track') is not None:
        has = 'no images' if root.find('track') is None else 'tracks of a video'
        raise UserError(f'{path} has {has}, and "CVAT for images 1.1" is what is read: export the task so')
    for place, image in enumerate(images):
        name, where = image.get('name'), f'{path}: image {place}'
        if name is None:
            raise UserError(f'{where} has no name, by which its sample is found: export the task again')
        where = f'{where} ({name})'
        size = size_said(image, where)
        yield Labelled(Path(name).stem, size, partial(_regions, image, size, classes, where))


def _regions(image: ET.Element, size: tuple[int, int], classes: tuple[str, ...], where: str) -> list[Region]:
    shapes = [(f'{where}, {shape.tag} {place}', shape) for place, shape in enumerate(image)]
    shapes.sort(key=lambda named: as_number(named[1].get('z_order', 0), named[0], 'z_order', True))
    return [_region(shape, size, classes, name) for name, shape in shapes]


def _region(shape: ET.Element, size: tuple[int, int], classes: tuple[str, ...], where: str) -> Region:
    if shape.tag not in _SHAPES or as_number(shape.get('rotation', 0), where, 'rotation'):
        kind = 'rotated' if shape.tag in _SHAPES else f'no {", ".join(_SHAPES[:-1])} or {_SHAPES[-1]}'
        raise UserError(f'{where} is {kind}: draw a polygon, a mask or a box without rotation in its place')
    label = class_index(shape.get('label'), classes, where)
    ignored = any(one.get('name') == _IGNORED and one.text == 'true' for one in shape.findall('attribute'))
    if shape.tag == 'box':
        x1, y1, x2, y2 = (as_number(shape.get(name), where, name) for name in ('xtl', 'ytl', 'xbr', 'ybr'))
        return Region(label, (x1, y1, x2, y2), ignored=ignored, entry=where)
    if shape.tag == 'polygon':
        points = [value for point in shape.get('points', '').split(';') for value in point.split(',')]
        mask = mask_of_outline([points], size, where)
    else:
        mask = _within(shape, size, where)
    return Region(label, box_around(mask), mask, ignored=ignored, entry=where)


def _within(shape: ET.Element, size: tuple[int, int], where: str) -> np.ndarray:
    """A mask of the image from the one in its box."""
    x, y, width, height = (
        int(as_number(shape.get(name), where, name, True)) for name in ('left', 'top', 'width', 'height')
    )
    if min(x, y, width, height) < 0 or x + width > size[1] or y + height > size[0]:
        raise UserError(f'{where} reaches out of the image: export it again, or remove it')
    mask = np.zeros(size, bool)
    runs = as_numbers(shape.get('rle', '').split(','), where, 'rle', whole=True)
    mask[y : y + height, x : x + width] = mask_of_runs(runs, (height, width), where)
    return mask
