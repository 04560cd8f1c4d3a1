"""Pascal VOC: ``JPEGImages``, ``Annotations/ID.xml`` of objects, ``SegmentationClass`` (and ``SegmentationObject``)."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils.pictures import label_colours
from .samples import IGNORED, Sample

__all__ = ['write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes the folders of the devkit. Boxes are whole pixels counted from 1, as there; in maps 0 is background, a
    class is its index plus 1, 255 is ignored. Images stay PNG, so that no pixel changes."""
    names = []
    for sample in samples:
        names.append(sample.id)
        sample.copy_image(folder / 'JPEGImages' / f'{sample.id}.png')
        _write_xml(sample, folder / 'Annotations' / f'{sample.id}.xml')
        regions = sample.regions()
        if sample.kind != 'instances':
            labels = sample.map().astype(int) + 1
            _write_map(np.where(labels > IGNORED, IGNORED, labels), folder / 'SegmentationClass' / f'{sample.id}.png')
        elif regions and all(region.mask is not None for region in regions):
            both = np.zeros((2, *sample.size), np.uint8)
            for number, region in enumerate(regions):
                both[:, region.mask] = np.array([[region.label + 1], [number + 1]]) if not region.ignored else IGNORED
            for kind, values in zip(('Class', 'Object'), both):
                _write_map(values, folder / f'Segmentation{kind}' / f'{sample.id}.png')
    for kind in ('Main', 'Segmentation'):
        path = folder / 'ImageSets' / kind / 'train.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join([*names, '']))
    (folder / 'labels.txt').write_text('\n'.join(['background', *classes, '']))


def _write_xml(sample: Sample, path: Path) -> None:
    root = ET.Element('annotation')
    for name, text in (('folder', 'JPEGImages'), ('filename', f'{sample.id}.png'), ('segmented', '0')):
        ET.SubElement(root, name).text = text
    size = ET.SubElement(root, 'size')
    for name, value in zip(('width', 'height', 'depth'), (*sample.size[::-1], 3)):
        ET.SubElement(size, name).text = str(value)
    for region in sample.regions() if sample.kind != 'segmentation' else ():
        found = ET.SubElement(root, 'object')
        x1, y1, x2, y2 = (int(round(value)) for value in region.box)
        for name, text in (
            ('name', sample.classes[region.label]),
            ('pose', 'Unspecified'),
            ('truncated', '0'),
            ('difficult', str(int(region.ignored))),
        ):
            ET.SubElement(found, name).text = text
        box = ET.SubElement(found, 'bndbox')
        for name, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), (x1 + 1, y1 + 1, max(x2, x1 + 1), max(y2, y1 + 1))):
            ET.SubElement(box, name).text = str(value)
    ET.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding='utf-8')


def _write_map(values: np.ndarray, path: Path) -> None:
    """With a palette, as the devkit's are, so that viewers show colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values.astype(np.uint8), 'P')
    colours = np.concatenate([[[0, 0, 0]], label_colours(254), [[224, 224, 192]]])
    picture.putpalette(colours.astype(np.uint8).tobytes())
    picture.save(path)
