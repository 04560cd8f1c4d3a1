"""What COCO's two JSON layouts share: ids, categories, reading."""
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from ..records import SampleRecord

__all__ = ['MAX_PER_IMAGE', 'box_of', 'image_entry', 'image_id', 'merged', 'read_coco']

#: Annotations of one image: their ids are its own id times this, plus their place.
MAX_PER_IMAGE = 10_000


def image_id(record: SampleRecord) -> int:
    """A number that no other sample of the store has, whatever process made it and when."""
    return (record.round * 10_000_000 + record.source) * 100 + record.copy + 1


def image_entry(record: SampleRecord, shape: Sequence[int]) -> Dict[str, Any]:
    """Entry of ``images`` for an image of shape (H, W); the file lies in ``STORE/images``."""
    return dict(id=image_id(record), file_name=f'{record.id}.png', height=int(shape[0]),
                width=int(shape[1]))


def box_of(bbox: Sequence[float], shape: Sequence[int]) -> List[float]:
    """x1 y1 x2 y2, cut to the image of shape (H, W), as COCO's x y w h in pixels."""
    height, width = shape[:2]
    x1, x2 = np.clip(np.asarray(bbox, float)[[0, 2]], 0, width)
    y1, y2 = np.clip(np.asarray(bbox, float)[[1, 3]], 0, height)
    # rounded so that x + w stays inside
    x1, y1 = (float(np.round(value, 3)) for value in (x1, y1))
    return [x1, y1, float(np.floor((x2 - x1) * 1e3) / 1e3), float(np.floor((y2 - y1) * 1e3) / 1e3)]


def read_coco(path: Path) -> Dict[str, Any]:
    """Content of a sample's JSON file.

    Raises:
        ValueError: It is no COCO content with one image.
    """
    try:
        content = json.loads(path.read_bytes())
        complete = {'annotations', 'categories'} <= set(content) and len(content['images']) == 1
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise ValueError('not a COCO file of one image')
    return content


def merged(paths: Sequence[Path]) -> Dict[str, Any]:
    """The files of many samples as one COCO content."""
    whole: Dict[str, Any] = dict(images=[], annotations=[], categories=[])
    for path in paths:
        content = read_coco(path)
        whole['categories'] = content['categories']  # the same in all files of a store
        whole['images'] += content['images']
        whole['annotations'] += content['annotations']
    return whole
