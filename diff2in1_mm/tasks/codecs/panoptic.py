"""Panoptic maps in files: COCO's panoptic layout."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.errors import UserError
from .base import AnnotationCodec, Named
from .coco import image_entry, merged, read_coco
from .png import decode_png, encode_png

__all__ = ['PanopticCodec', 'PanopticMap']


class PanopticMap(NamedTuple):
    """Segments of one image.

    Attributes:
        ids: Segment of each pixel, integer (H, W) in 0..n; 0 where there is none.
        labels: Class index of segments 1..n, integer (n,).
        num_things: Classes below this index are countable objects, the others stuff.
    """

    ids: np.ndarray
    labels: np.ndarray
    num_things: int


class PanopticCodec(AnnotationCodec):
    """``ID.png`` with segment ids as R + 256 G + 65536 B, and ``ID.json`` saying what they are.

    Category ids are class indices plus 1; things come before stuff, as in MMDetection.
    """

    suffix = '.json'
    _picture = '.png'

    def encode(self, annotation: PanopticMap, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Segments to COCO's two files."""
        # 256 fits no integer of 8 bits
        ids = np.asarray(annotation.ids).astype(np.int64)
        labels = np.asarray(annotation.labels)
        self.check_shape(ids, image_shape)
        if ids.min() < 0 or ids.max() > len(labels):
            raise UserError(f'the annotation has segments {ids.min()} to {ids.max()}, but says what {len(labels)} are.')
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise UserError(
                f'the annotation has class indices {labels.min()} to {labels.max()}, '
                f'but there are {len(self.classes)} classes.'
            )
        categories = [
            dict(id=i + 1, name=name, isthing=int(i < annotation.num_things)) for i, name in enumerate(self.classes)
        ]
        segments = [_segment(ids == i + 1, i + 1, int(label)) for i, label in enumerate(labels)]
        content = dict(
            images=[image_entry(record, image_shape)],
            annotations=[
                dict(
                    image_id=record.number,
                    file_name=f'{record.id}{self._picture}',
                    segments_info=[s for s in segments if s['area']],
                )
            ],
            categories=categories,
        )
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        return {self.suffix: json.dumps(content).encode(), self._picture: encode_png(colours)}

    def decode(self, path: Path) -> PanopticMap:
        """The two files to segments."""
        segments = self._segments(path)
        categories = read_coco(path)['categories']
        picture = decode_png(path.with_suffix(self._picture).read_bytes())
        if picture is None or picture.ndim != 3:
            raise UserError('not a readable PNG in colour')
        red, green, blue = np.moveaxis(picture.astype(np.int64), -1, 0)
        labels = np.array([s['category_id'] - 1 for s in segments], int)
        return PanopticMap(red + 256 * green + 65536 * blue, labels, sum(c['isthing'] for c in categories))

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """The entries that MMDetection's ``CocoPanopticDataset`` makes of its annotations."""
        content = read_coco(path)
        (image,) = content['images']
        countable = {c['id'] for c in content['categories'] if c['isthing']}
        info.update(
            height=image['height'],
            width=image['width'],
            instances=[],
            segments_info=[],
            seg_map_path=str(path.with_suffix(self._picture)),
        )
        for segment in self._segments(path):
            label, thing = segment['category_id'] - 1, segment['category_id'] in countable
            info['segments_info'].append(dict(id=segment['id'], category=label, is_thing=thing))
            if thing:
                x, y, width, height = segment['bbox']
                info['instances'].append(dict(bbox=[x, y, x + width, y + height], bbox_label=label, ignore_flag=0))

    def merge(self, paths: Sequence[Path]) -> dict[str, Any]:
        """The round's ``panoptic.json``."""
        return {'panoptic.json': merged(paths)}

    @staticmethod
    def _segments(path: Path) -> list[dict[str, Any]]:
        (annotation,) = read_coco(path)['annotations']
        return annotation['segments_info']


def _segment(mask: np.ndarray, number: int, label: int) -> dict[str, Any]:
    """Entry of ``segments_info`` for the pixels (H, W) of a segment."""
    rows, columns = np.nonzero(mask)
    box = [0, 0, 0, 0]
    if len(rows):
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    return dict(id=number, category_id=label + 1, area=int(mask.sum()), bbox=box, iscrowd=0)
