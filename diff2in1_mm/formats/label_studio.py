"""Label Studio: ``tasks.json`` with pre-annotations, ``config.xml`` of the project, and ``images/``."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.atomic_files import write_atomic
from ..utils.errors import NotInstalledError
from ..utils.pictures import label_colours
from .samples import Region, Sample

__all__ = ['write']


def write(samples: Iterable[Sample], folder: Path, classes: tuple[str, ...]) -> None:
    """Writes tasks whose images Label Studio finds where its local files root is this folder.

    Raises:
        ImportError: There are masks, whose brush strokes Label Studio's own library packs, and it is not installed.
    """
    tasks, brushes = [], False
    for sample in samples:
        regions = sample.regions()
        results = [_result(region, number, sample) for number, region in enumerate(regions)]  # before any file
        name = sample.copy_image(folder / 'images' / f'{sample.id}.png').name
        brushes |= any(result['type'] == 'brushlabels' for result in results)
        scores = [region.score for region in regions]
        prediction = dict(result=results, score=float(np.mean(scores)) if scores else 0.0, model_version='theta_C')
        data = dict(image=f'/data/local-files/?d=images/{name}', id=sample.id, caption=sample.record.caption)
        tasks.append(dict(data=data, predictions=[prediction]))
    write_atomic(folder / 'tasks.json', json.dumps(tasks).encode())
    write_atomic(folder / 'config.xml', _config(classes, 'BrushLabels' if brushes else 'RectangleLabels'))


def _config(classes: tuple[str, ...], kind: str) -> bytes:
    view = ET.Element('View')
    ET.SubElement(view, 'Image', name='image', value='$image')
    labels = ET.SubElement(view, kind, name='label', toName='image')
    for name, colour in zip(classes, label_colours(len(classes))):
        ET.SubElement(labels, 'Label', value=name, background='#{:02x}{:02x}{:02x}'.format(*colour))
    ET.indent(view)
    return ET.tostring(view)


def _result(region: Region, number: int, sample: Sample) -> dict[str, Any]:
    height, width = sample.size
    kind = 'rectanglelabels' if region.mask is None else 'brushlabels'
    value: dict[str, Any] = {kind: [sample.classes[region.label]]}
    if region.mask is None:
        x1, y1, x2, y2 = region.box
        corners = dict(x=x1 / width, y=y1 / height, width=(x2 - x1) / width, height=(y2 - y1) / height)
        value.update({name: 100 * share for name, share in corners.items()}, rotation=0)
    else:
        value.update(format='rle', rle=_brush(region.mask))
    return dict(
        id=str(number),
        from_name='label',
        to_name='image',
        type=kind,
        original_width=width,
        original_height=height,
        image_rotation=0,
        value=value,
        score=region.score,
        meta=dict(ignored=region.ignored),
    )


def _brush(mask: np.ndarray) -> list[int]:
    try:
        from label_studio_sdk.converter.brush import mask2rle
    except ImportError as error:
        raise NotInstalledError(
            'masks for label-studio are packed by its own library: run `pip install label-studio-sdk`'
        ) from error
    return mask2rle(mask.astype(np.uint8) * 255)
