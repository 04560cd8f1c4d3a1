"""Boxes, and masks where there are any: the objects of an image."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from ..utils.errors import UserError
from ..utils.image_values import size_of
from ..utils.optional import is_a
from .base import Label, Labeller, Named, Task, checked_confidence
from .coco import MAX_PER_IMAGE, box_of, check_labels, image_entry, merged, read_coco, run_lengths
from .detectors import (
    class_count,
    has_nms,
    ignores_boxes,
    learns_masks_of_boxes,
    new_detection_samples,
    predict_samples,
    predicts_panoptic,
    resized_instances,
    target_of,
    target_of_boxes,
    with_boxes,
)
from .registry import register_task
from .semantic_heads import check_semantic_head, give_map, map_of, watched
from .source_instances import Instances, painted, source_label

__all__ = ['DetectionLabeller', 'Instances', 'InstancesTask', 'source_label']


class _Chosen(NamedTuple):
    sure: InstanceData
    unsure: InstanceData  # to be ignored by the loss


class DetectionLabeller(Labeller):
    """Boxes, and masks where the detector predicts them.

    A box whose score reaches ``confidence`` is a target. One that reaches only ``ignore_from`` is
    neither object nor background: it goes to ``ignored_instances`` where all assigners of the
    detector read these (see :func:`ignores_boxes`), and is left out elsewhere. (MMDetection's
    assigners ignore nothing in an image without any object: there unsure boxes are background.)

    A semantic head beside the boxes (HTC, SCNet) learns from its own prediction where there is a sure box; of stored
    labels it learns nothing, as these are boxes and masks alone.

    Args:
        model (BaseModel): A detector whose ``predict`` gives boxes.
        confidence (float | Sequence[float] | None): Least score of a target, for all classes or
            for each. Default 0.9, as in SoftTeacher (Xu et al. 2021, section 3.2).
        ignore_from (float | None): Least score of a box that is ignored. None: no box is.
        minimum_size (float): Narrower or lower boxes are left out, in pixels. Default 1: they have
            no area to learn from.
        nms_iou (float | None): IoU from which the less sure of two boxes of a class is left out,
            for detectors without non-maximum suppression of their own (DETR's family). None: never.
            Default 0.7.
        allow_empty (bool): Whether "there is nothing" is a valid target. Otherwise a sample without
            a sure box keeps the target it has, and creation stores no such sample. Default False.
    """

    task = 'instances'
    default_confidence = 0.9

    def __init__(
        self,
        model: BaseModel,
        confidence: None | float | Sequence[float] = None,
        ignore_from: float | None = None,
        minimum_size: float = 1.0,
        nms_iou: float | None = 0.7,
        allow_empty: bool = False,
    ) -> None:
        self.confidence = checked_confidence(confidence, self.default_confidence)
        classes = class_count(model)
        if isinstance(self.confidence, tuple) and classes not in (None, len(self.confidence)):
            raise UserError(
                f'confidence lists {len(self.confidence)} thresholds, but the '
                f'detector predicts {classes} classes: give one for each.'
            )
        self.ignore_from = None if ignore_from is None else checked_confidence(ignore_from, 0.0)
        self.can_ignore = ignores_boxes(model)
        if ignore_from is not None and not self.can_ignore:
            warnings.warn(
                f'labelling.ignore_from={ignore_from} changes nothing: not all assigners '
                f'of {type(model).__name__} ignore boxes, so unsure ones are left out; '
                'see docs/detection.md for who can, and how the config says so'
            )
        self.minimum_size, self.allow_empty = minimum_size, allow_empty
        self.nms_iou = None if has_nms(model) else nms_iou

    @torch.no_grad()
    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[InstanceData]:
        """Predict in the pixels of the batch; see :meth:`Labeller.predict`.

        Returns:
            list[InstanceData]: ``bboxes`` (n, 4) as x1 y1 x2 y2, ``scores`` (n,), ``labels`` (n,),
            and bool ``masks`` (n, h, w) of the images without the batch's padding; in the metainfo ``label_map``
            (h, w), int64, of a semantic head.
        """
        with watched(model) as classes:
            found = [with_boxes(sample.pred_instances) for sample in predict_samples(model, inputs, data_samples)]
        for sample, prediction, map_ in zip(data_samples, found, torch.cat(classes) if classes else ()):
            size = sample.metainfo['img_shape'][:2]
            prediction.set_metainfo(dict(label_map=map_of(map_, size_of(inputs), size)))
        return found

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[InstanceData]) -> dict[str, Tensor]:
        kept = total = 0
        for sample, prediction in zip(data_samples, predictions):
            sure, unsure = self._choose(prediction)
            total += len(prediction)
            if not len(sure) and not self.allow_empty:
                continue
            size, present = sample.metainfo.get('batch_input_shape'), sample.get('gt_instances')
            target = target_of_boxes(sure, present) if learns_masks_of_boxes(present) else target_of(sure, size)
            if target is None:
                continue
            kept += len(sure)
            sample.gt_instances, sample.ignored_instances = target, target_of(unsure, size)
            if 'label_map' in prediction.metainfo:
                give_map(sample, prediction.metainfo['label_map'])
        return dict(ignored=torch.tensor(1 - kept / total if total else 0.0))

    def ignored(self, data_samples: Sequence) -> Tensor:
        skipped = sum(len(s.get('ignored_instances', ())) for s in data_samples)
        total = skipped + sum(len(s.gt_instances) for s in data_samples)
        return torch.tensor(skipped / total if total else 0.0)

    def agreement(self, predictions_a: Sequence[InstanceData], predictions_b: Sequence[InstanceData]) -> Tensor:
        """Share of sure boxes that the other prediction has too: class equal, IoU 0.5 (0-dim)."""
        from mmdet.structures.bbox import bbox_overlaps

        matched = total = 0
        for a, b in zip(predictions_a, predictions_b):
            a, b = self._choose(a).sure, self._choose(b).sure
            same = bbox_overlaps(a.bboxes, b.bboxes) >= 0.5
            same &= a.labels[:, None] == b.labels
            total += len(a) + len(b)
            if len(a) and len(b):
                matched += int(same.any(1).sum() + same.any(0).sum())
        return torch.tensor(matched / total if total else 1.0)

    def count_classes(self, model: BaseModel) -> int | None:
        return class_count(model)

    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        return new_detection_samples(count, size)

    def labels(
        self, predictions: Sequence[InstanceData], size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        return [self._label(prediction, size) for prediction in predictions]

    def resized(
        self, predictions: Sequence[InstanceData], size: Sequence[int], to: Sequence[int]
    ) -> list[InstanceData]:
        """Predictions for images of one size (height, width) in the pixels of another."""
        return [resized_instances(prediction, size, to) for prediction in predictions]

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """As :meth:`labels`, from the source images' own annotations."""
        return [source_label(entry, size) for entry in entries]

    def source_levels(
        self, entry: Mapping[str, Any], size: tuple[int, int], table: np.ndarray, default: int
    ) -> np.ndarray:
        """What a table has for the class of each pixel of a source image: within outlines, or boxes where there are
        none, the least of what lies there; elsewhere the default. (H, W), of the table's dtype."""
        return painted(source_label(entry, size).annotation, size, table, default)

    def _label(self, prediction: InstanceData, size: tuple[int, int]) -> Label | None:
        sure, unsure = self._choose(prediction)
        if not len(sure) and not self.allow_empty:
            return None
        both = InstanceData.cat([sure, unsure]) if len(unsure) else sure
        masks = both.masks[:, : size[0], : size[1]].cpu().numpy() if 'masks' in both else None
        annotation = Instances(
            bboxes=both.bboxes.float().cpu().numpy(),
            labels=both.labels.cpu().numpy(),
            scores=both.scores.float().cpu().numpy(),
            ignored=np.arange(len(both)) >= len(sure),
            masks=masks,
        )
        confidence = float(sure.scores.mean()) if len(sure) else 0.0
        share = 1 - len(sure) / len(prediction) if len(prediction) else 0.0
        return Label(annotation, dict(confidence=confidence, ignored=share, instances=float(len(sure))))

    def _choose(self, prediction: InstanceData) -> _Chosen:
        """Targets and boxes to ignore, both large enough and without doubles."""
        thresholds = self.confidence
        if isinstance(thresholds, tuple):
            thresholds = prediction.scores.new_tensor(thresholds)[prediction.labels]
        size = prediction.bboxes[:, 2:] - prediction.bboxes[:, :2]
        large = (size >= self.minimum_size).all(dim=1)
        if 'masks' in prediction:  # a box whose mask is empty teaches a mask head nothing
            large &= prediction.masks.flatten(1).any(dim=1)
        sure = self._suppress(prediction[large & (prediction.scores >= thresholds)])
        unsure = large & (prediction.scores < thresholds)
        if self.ignore_from is None or not self.can_ignore:
            unsure = torch.zeros_like(unsure)
        else:
            unsure = unsure & (prediction.scores >= self.ignore_from)
        return _Chosen(sure, prediction[unsure])

    def _suppress(self, instances: InstanceData) -> InstanceData:
        if self.nms_iou is None or len(instances) < 2:
            return instances
        from mmcv.ops import batched_nms

        _, kept = batched_nms(
            instances.bboxes.float(),
            instances.scores.float(),
            instances.labels,
            dict(type='nms', iou_threshold=self.nms_iou),
        )
        return instances[kept]


@register_task
class InstancesTask(Task):
    """One COCO file for each sample, and all samples as one.

    Category ids are class indices plus 1. ``score`` is the labeller's confidence. What is to be
    ignored has ``iscrowd`` 1, as MMDetection and pycocotools read it. Masks are run lengths.
    """

    name, labeller = 'instances', DetectionLabeller
    suffix = '.json'

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """MMDetection's detectors, and mask transformers that predict instances alone."""
        if is_a(model, 'mmdet', 'MaskFormer'):
            return not predicts_panoptic(model)
        check_semantic_head(model)
        return is_a(model, 'mmdet', 'BaseDetector') and not is_a(model, 'mmdet', 'TwoStagePanopticSegmentor')

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
        """COCO file to instances; boxes to a thousandth of a pixel.

        Raises:
            ValueError: It is no COCO file of one image, or has an object that the store could not have written.
        """
        found = read_coco(path)['annotations']
        try:
            instances = self._decoded(found)
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f'{path} has an object without all that was written of it ({error!r}): restore the file'
            ) from error
        if ((instances.labels < 0) | (instances.labels >= len(self.classes))).any():
            raise UserError(f'{path} has an object of a class that the store has not: restore the file')
        return instances

    @staticmethod
    def _decoded(found: list[dict[str, Any]]) -> Instances:
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

    def merge(self, paths: Iterable[Path]) -> dict[str, Iterable[bytes]]:
        """The round's ``instances.json``."""
        return {'instances.json': merged(paths)}

    def draw(
        self, image: np.ndarray, annotation: Instances, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """Masks and boxes; those to be ignored are white."""
        picture = np.ascontiguousarray(image)
        width = max(1, round(min(image.shape[:2]) / 200))
        for i, (box, label, ignored) in enumerate(zip(annotation.bboxes, annotation.labels, annotation.ignored)):
            colour = (255, 255, 255) if ignored else tuple(int(c) for c in colours[label])
            if annotation.masks is not None:
                mask = annotation.masks[i]
                picture = picture.copy()
                picture[mask] = (picture[mask] * (1 - opacity) + np.array(colour) * opacity).round()
            x1, y1, x2, y2 = np.asarray(box).round().astype(int)
            picture = cv2.rectangle(picture.copy(), (x1, y1), (x2 - 1, y2 - 1), colour, width)
        return picture

    def shown(self, annotation: Instances, entry: Mapping[str, Any]) -> dict[str, float]:
        counts = np.bincount(annotation.labels[~annotation.ignored], minlength=len(self.classes))
        return {name: float(count) for name, count in zip(self.classes, counts) if count}

    @staticmethod
    def ignore_classes(data_sample: Any, classes: Sequence[int], ignore_index: int = 255) -> None:
        """Objects of the classes become ignored ones, which detectors leave alone whose assigners read these."""
        found = data_sample.gt_instances
        wrong = torch.isin(found.labels, found.labels.new_tensor(list(classes)))
        if wrong.any():
            before = data_sample.get('ignored_instances')
            ignored = [before, found[wrong]] if before is not None and len(before) else [found[wrong]]
            data_sample.gt_instances, data_sample.ignored_instances = found[~wrong], InstanceData.cat(ignored)

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
            entry.update(run_lengths(masks[place]))
        return entry

    def _check(self, annotation: Instances, image_shape: tuple[int, int]) -> None:
        count = len(annotation.labels)
        shapes: list[bool] = [
            np.shape(annotation.bboxes) == (count, 4),
            np.shape(annotation.scores) == (count,),
            np.shape(annotation.ignored) == (count,),
            count <= MAX_PER_IMAGE,
            annotation.masks is None or annotation.masks.shape == (count, *image_shape),
        ]
        if not all(shapes):
            raise UserError(
                f'the annotation of {count} objects has boxes {np.shape(annotation.bboxes)} and '
                f'masks {getattr(annotation.masks, "shape", None)} for an image {tuple(image_shape)}: give n '
                f'boxes (n, 4), masks (n, H, W), and at most {MAX_PER_IMAGE} objects.'
            )
        check_labels(annotation.labels, len(self.classes))
