"""Boxes and masks from MMDetection's detectors."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...utils.errors import UserError
from ..codecs.instances import Instances
from .base import Label, Labeller, checked_confidence
from .source_boxes import source_label

__all__ = ['DetectionLabeller', 'ignores_boxes']


class _Chosen(NamedTuple):
    sure: InstanceData
    unsure: InstanceData  # to be ignored by the loss


class DetectionLabeller(Labeller):
    """Boxes, and masks where the detector predicts them.

    A box whose score reaches ``confidence`` is a target. One that reaches only ``ignore_from`` is
    neither object nor background: it goes to ``ignored_instances`` where all assigners of the
    detector read these (see :func:`ignores_boxes`), and is left out elsewhere. (MMDetection's
    assigners ignore nothing in an image without any object: there unsure boxes are background.)

    Args:
        model (nn.Module): A detector whose ``predict`` gives boxes.
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
        model: nn.Module,
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
        self.nms_iou = None if _has_nms(model) else nms_iou

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor, data_samples: Sequence) -> list[InstanceData]:
        """Predict in the pixels of the batch; see :meth:`Labeller.predict`.

        Returns:
            list[InstanceData]: ``bboxes`` (n, 4) as x1 y1 x2 y2, ``scores`` (n,), ``labels`` (n,),
            and bool ``masks`` (n, h, w) of the images without the batch's padding.
        """
        return [_with_boxes(sample.pred_instances) for sample in predict_samples(model, inputs, data_samples)]

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[InstanceData]) -> dict[str, Tensor]:
        kept = total = 0
        for sample, prediction in zip(data_samples, predictions):
            sure, unsure = self._choose(prediction)
            kept, total = kept + len(sure), total + len(prediction)
            if not len(sure) and not self.allow_empty:
                continue
            size = sample.metainfo.get('batch_input_shape')
            sample.gt_instances = _target(sure, size)
            sample.ignored_instances = _target(unsure, size)
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

    def count_classes(self, model: nn.Module) -> int | None:
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
        return [_resized(prediction, size, to) for prediction in predictions]

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """As :meth:`labels`, from the source images' own annotations."""
        return [source_label(entry, size) for entry in entries]

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
        large = (size > self.minimum_size).all(dim=1)
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


def predict_samples(model: nn.Module, inputs: Tensor, data_samples: Sequence) -> list[Any]:
    """A detector's predictions in the pixels of the batch, on samples of their own.

    ``predict`` writes into the samples it is given, some heads read their annotations, and mask
    heads scale by ``scale_factor`` even without ``rescale``. ``border``, which CenterNet's head
    demands and takes off the boxes, is 0 in the pixels of the batch. Autocast is off: non-maximum
    suppression knows no bfloat16.
    """
    own = []
    for sample in data_samples:
        metainfo = dict(sample.metainfo)
        metainfo.update(ori_shape=metainfo['img_shape'], scale_factor=(1.0, 1.0), border=(0, 0, 0, 0))
        metainfo.setdefault('batch_input_shape', tuple(inputs.shape[-2:]))
        own.append(type(sample)(metainfo=metainfo))
    with torch.autocast(inputs.device.type, enabled=False):
        return model.predict(inputs, own, rescale=False)


def new_detection_samples(count: int, size: tuple[int, int]) -> list[Any]:
    """Samples of MMDetection without annotation, for images of one size (height, width)."""
    from mmdet.structures import DetDataSample

    return [
        DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)))
        for _ in range(count)
    ]


def padded_masks(masks: Tensor, size: tuple[int, int] | None) -> Any:
    """bool (n, h, w) to MMDetection's ``BitmapMasks``, padded at the bottom and right to a size."""
    from mmdet.structures.mask import BitmapMasks

    masks = BitmapMasks(masks.to(torch.uint8).cpu().numpy(), *masks.shape[-2:])
    return masks if size is None else masks.pad(tuple(size), pad_val=0)


def ignores_boxes(model: nn.Module) -> bool:
    """Whether every assigner of a detector leaves predictions over ignored boxes alone.

    MMDetection's stock configs set ``ignore_iof_thr=-1``, which switches this off; heads without
    an assigner (FCOS) and Hungarian ones never read ignored boxes.
    """
    assigners: list[Any] = []
    for module in model.modules():
        for name in ('assigner', 'bbox_assigner'):
            found = getattr(module, name, None)
            assigners.extend(found if isinstance(found, (list, tuple)) else [found])
    assigners = [assigner for assigner in assigners if assigner is not None]
    return bool(assigners) and all(getattr(a, 'ignore_iof_thr', -1) > 0 for a in assigners)


def class_count(model: nn.Module) -> int | None:
    """Number of a detector's classes; None if no head says so."""
    for head in (
        getattr(model, 'panoptic_fusion_head', None),
        getattr(getattr(model, 'roi_head', None), 'bbox_head', None),
        getattr(model, 'bbox_head', None),
        getattr(model, 'mask_head', None),
    ):
        if isinstance(head, nn.ModuleList):  # a cascade's stages
            head = head[-1]
        if hasattr(head, 'num_classes'):
            return head.num_classes
    return None


def _has_nms(model: nn.Module) -> bool:
    """Whether a detector's ``test_cfg`` suppresses doubles, at any stage's end."""

    def names(cfg: Any) -> bool:
        return isinstance(cfg, Mapping) and ('nms' in cfg or any(map(names, cfg.values())))

    test_cfg = getattr(model, 'test_cfg', None)
    return test_cfg is None or names(test_cfg)


def _with_boxes(prediction: InstanceData) -> InstanceData:
    """Boxes (n, 4) around the masks where a head predicts masks alone, changed in place.

    SOLO's heads leave boxes of zeros, which would all be too small to learn from, and where they
    find nothing, labels and masks that are float.
    """
    prediction.labels = prediction.labels.long()
    if 'masks' not in prediction:
        return prediction
    from mmdet.structures.mask import mask2bbox

    prediction.masks = prediction.masks.bool()
    flat = (prediction.bboxes[:, 2:] <= prediction.bboxes[:, :2]).any(dim=1)
    if flat.any():
        boxes = prediction.bboxes.clone()
        boxes[flat] = mask2bbox(prediction.masks[flat]).to(boxes)
        prediction.bboxes = boxes
    return prediction


def _resized(prediction: InstanceData, size: Sequence[int], to: Sequence[int]) -> InstanceData:
    height, width = (new / old for new, old in zip(to, size))
    result = prediction.new()
    result.bboxes = prediction.bboxes * prediction.bboxes.new_tensor([width, height] * 2)
    if 'masks' in prediction and len(prediction):
        inside = prediction.masks[:, : size[0], : size[1]]
        result.masks = F.interpolate(inside[None].float(), tuple(to), mode='bilinear')[0] >= 0.5
    return result


def _target(instances: InstanceData, size: tuple[int, int] | None) -> InstanceData:
    target = InstanceData(bboxes=instances.bboxes.float(), labels=instances.labels)
    if 'masks' in instances:
        target.masks = padded_masks(instances.masks, size)
    return target
