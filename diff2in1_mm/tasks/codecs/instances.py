"""Boxes and masks in files: COCO's instance layout."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ...utils.errors import UserError
from .base import AnnotationCodec, Named
from .coco import MAX_PER_IMAGE, box_of, image_entry, merged, read_coco

__all__ = ['Instances', 'InstancesCodec', 'masks_to_polygons']


class Instances(NamedTuple):
    """Objects of one image.

    Attributes:
        bboxes: float (n, 4), x1 y1 x2 y2 in pixels.
        labels: Class indices, integer (n,).
        scores: Confidence, float (n,) in [0, 1].
        ignored: Whether the loss is to leave the object alone, bool (n,).
        masks: bool (n, H, W), or None.
    """

    bboxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray
    masks: np.ndarray | None = None


class InstancesCodec(AnnotationCodec):
    """One COCO file for each sample, and all samples as one.

    Category ids are class indices plus 1. ``score`` is the labeller's confidence. What is to be
    ignored has ``iscrowd`` 1, as MMDetection and pycocotools read it. Masks are run lengths.
    """

    suffix = '.json'

    def encode(self, annotation: Instances, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Instances to COCO; objects without area inside the image, or in their mask, are left
        out."""
        self._check(annotation, image_shape)
        content = dict(
            images=[image_entry(record, image_shape)],
            annotations=[
                entry
                for entry in (self._entry(annotation, i, record, image_shape) for i in range(len(annotation.labels)))
                if entry
            ],
            categories=[dict(id=i + 1, name=name) for i, name in enumerate(self.classes)],
        )
        return {self.suffix: json.dumps(content).encode()}

    def decode(self, path: Path) -> Instances:
        """COCO file to instances; boxes to a thousandth of a pixel."""
        content = read_coco(path)
        found = content['annotations']
        boxes = np.array([a['bbox'] for a in found], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = None
        if found and all('segmentation' in a for a in found):
            from pycocotools import mask as coco_mask

            masks = np.stack([coco_mask.decode(a['segmentation']) for a in found]).astype(bool)
        return Instances(
            boxes,
            np.array([a['category_id'] - 1 for a in found], int),
            np.array([a['score'] for a in found], float),
            np.array([a['iscrowd'] for a in found], bool),
            masks,
        )

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """The entries that MMDetection's COCO and VOC data sets make of their annotations."""
        content = read_coco(path)
        (image,) = content['images']
        info.update(height=image['height'], width=image['width'], instances=[])
        for found in content['annotations']:
            x, y, width, height = found['bbox']
            instance = dict(
                bbox=[x, y, x + width, y + height], ignore_flag=found['iscrowd'], bbox_label=found['category_id'] - 1
            )
            if 'segmentation' in found:
                instance['mask'] = found['segmentation']
            info['instances'].append(instance)

    def merge(self, paths: Sequence[Path]) -> dict[str, Any]:
        """The round's ``instances.json``."""
        return {'instances.json': merged(paths)}

    def _entry(
        self, annotation: Instances, place: int, record: Named, image_shape: tuple[int, int]
    ) -> dict[str, Any] | None:
        bbox = box_of(annotation.bboxes[place], image_shape)
        masks = annotation.masks
        if min(bbox[2:]) <= 0 or (masks is not None and not np.any(masks[place])):
            return None
        entry = dict(
            id=record.number * MAX_PER_IMAGE + place,
            image_id=record.number,
            category_id=int(annotation.labels[place]) + 1,
            bbox=bbox,
            area=bbox[2] * bbox[3],
            iscrowd=int(annotation.ignored[place]),
            score=float(annotation.scores[place]),
        )
        if masks is not None:
            entry.update(_run_lengths(masks[place]))
        return entry

    def _check(self, annotation: Instances, image_shape: tuple[int, int]) -> None:
        count = len(annotation.labels)
        shapes: list[bool] = [
            np.shape(annotation.bboxes) == (count, 4),
            np.shape(annotation.scores) == (count,),
            np.shape(annotation.ignored) == (count,),
            count <= MAX_PER_IMAGE,
            annotation.masks is None or np.shape(annotation.masks) == (count, *image_shape),
        ]
        if not all(shapes):
            raise UserError(
                f'the annotation of {count} objects has boxes {np.shape(annotation.bboxes)} and '
                f'masks {np.shape(annotation.masks)} for an image {tuple(image_shape)}: give n '
                f'boxes (n, 4), masks (n, H, W), and at most {MAX_PER_IMAGE} objects.'
            )
        labels = np.asarray(annotation.labels)
        if count and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise UserError(
                f'the annotation has class indices {labels.min()} to {labels.max()}, '
                f'but there are {len(self.classes)} classes.'
            )


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's ``segmentation`` and ``area`` of a bool mask (H, W)."""
    from pycocotools import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    encoded['counts'] = encoded['counts'].decode()  # bytes are no JSON
    return dict(segmentation=encoded, area=int(mask.sum()))


def masks_to_polygons(info: dict[str, Any]) -> None:
    """Turns the run lengths of an annotation entry into polygons, which ``poly2mask=False`` needs.

    MMDetection's ``LoadAnnotations`` ignores every object with run lengths then. Rasterised again,
    the polygons give the same pixels, but holes are filled.

    Args:
        info (dict): As :meth:`InstancesCodec.point_at` leaves it; changed in place.
    """
    from pycocotools import mask as coco_mask

    for instance in info.get('instances', []):
        if isinstance(instance.get('mask'), dict):
            instance['mask'] = _polygons(coco_mask.decode(instance['mask']))


def _polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a uint8 mask (H, W), one flat list x0, y0, x1, y1, ... for each part."""
    # OpenCV joins the centres of pixels. Those of pixels of half the size lie inside the border of
    # the mask by so little that rasterising finds the same pixels; and no part is only a point.
    fine = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((contour.reshape(-1) + 0.5) / 2).tolist() for contour in contours]
