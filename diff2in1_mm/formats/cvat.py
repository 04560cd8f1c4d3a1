"""CVAT for images 1.1: ``annotations.xml`` with boxes and masks, and ``images/``."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..utils.errors import MissingFileError, UserError
from ..utils.pictures import label_colours
from .coco import class_index
from .samples import Region, Sample, box_around

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


def read(path: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int], list[Region]]]:
    """Name, size and regions of each image of an exported ``annotations.xml``: boxes, masks and polygons, in the order
    in which they lie over each other.

    Raises:
        UserError: It is no such file, or names another class.
    """
    path = path / 'annotations.xml' if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(f'there is no {path}: export the task from CVAT as "CVAT for images 1.1"')
    try:
        images = ET.parse(path).getroot().findall('image')
        for image in images:
            size = int(image.attrib['height']), int(image.attrib['width'])
            shapes = sorted(image, key=lambda shape: int(shape.get('z_order', 0)))
            regions = [
                _region(shape, size, classes, path) for shape in shapes if shape.tag in ('box', 'mask', 'polygon')
            ]
            yield Path(image.attrib['name']).stem, size, regions
    except (ET.ParseError, KeyError) as error:
        raise UserError(f'{path} is no "CVAT for images 1.1" ({error}): export the task so') from error


def _region(shape: ET.Element, size: tuple[int, int], classes: tuple[str, ...], path: Path) -> Region:
    from pycocotools import mask as coco_mask

    label = class_index(shape.attrib['label'], classes, path)
    ignored = any(one.get('name') == _IGNORED and one.text == 'true' for one in shape.findall('attribute'))
    if shape.tag == 'box':
        x1, y1, x2, y2 = (float(shape.attrib[name]) for name in ('xtl', 'ytl', 'xbr', 'ybr'))
        return Region(label, (x1, y1, x2, y2), ignored=ignored)
    mask = np.zeros(size, np.uint8)
    if shape.tag == 'polygon':
        points = [float(value) for point in shape.attrib['points'].split(';') for value in point.split(',')]
        mask = coco_mask.decode(coco_mask.frPyObjects([points], *size))[..., 0]
    else:
        x, y, width, height = (int(shape.attrib[name]) for name in ('left', 'top', 'width', 'height'))
        runs = list(map(int, shape.attrib['rle'].split(',')))
        values = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
        if len(values) != width * height:
            raise UserError(f'{path} has {len(values)} pixels in a mask of {width} x {height}: export it again')
        mask[y : y + height, x : x + width] = values.reshape(height, width)
    if not mask.any():
        raise UserError(f'{path} has a {shape.tag} without any pixel: remove it in CVAT')
    return Region(label, box_around(mask > 0), mask > 0, ignored=ignored)
