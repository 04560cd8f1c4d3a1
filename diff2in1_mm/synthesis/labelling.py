"""Labels from theta_C: a model's own prediction becomes the target of a synthetic sample.

A labeller predicts in the coordinates of the *batch* (after the data preprocessor, whole image, no
un-flip, no resize to the original shape), so that its result can be a training target as it is. It
works on samples of its own: those of the batch only change in :meth:`assign`.

The caller decides which parameters (``ThetaC.applied``) and which features (``backbone.serve``) the
model computes with, and whether it is in eval mode.
"""

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import torch
import torch.nn as nn
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from ..optional import is_installed
from .raw_labels import to_raw_labels

__all__ = ['DetectionLabeller', 'SegmentationLabeller', 'SegmentationPrediction', 'labeller_for']


@dataclass
class SegmentationPrediction:
    """What a segmentor says of one image.

    Attributes:
        labels (Tensor): Class indices (H, W), int64.
        confidence (Tensor): Probability of that class (H, W), float32 in [0, 1].
    """

    labels: Tensor
    confidence: Tensor


class SegmentationLabeller:
    """Label maps for MMSegmentation's segmentors.

    Args:
        model (nn.Module): An ``EncoderDecoder``.
        confidence (float, optional): Pixels less sure than this are ignored. Defaults to 0: none.
    """

    default_confidence = 0.0

    def __init__(self, model: nn.Module, confidence: Optional[float] = None) -> None:
        self.confidence = _checked(confidence, self.default_confidence)
        self.ignore_index = _last_head(model).ignore_index

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor,
                data_samples: Sequence) -> list[SegmentationPrediction]:
        """Predicts whole images in batch coordinates.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence): Their samples; neither read nor changed here, a map is as large
                as the batch.
        """
        size = tuple(inputs.shape[-2:])
        # tuples, not torch.Size: MMSeg takes a Size for a window of slide inference
        metas = [dict(img_shape=size, pad_shape=size, ori_shape=size, padding_size=(0, 0, 0, 0),
                      flip=False) for _ in data_samples]
        scores = model.encode_decode(inputs, metas).float()
        labels, confidence = _decide(scores, _last_head(model))
        return [SegmentationPrediction(*pair) for pair in zip(labels, confidence)]

    def assign(self, data_samples: Sequence, predictions: Sequence[SegmentationPrediction],
               threshold: Optional[float] = None) -> dict[str, Tensor]:
        """Writes predictions into ``gt_sem_seg``; unsure pixels and padding become ignored.

        Args:
            data_samples (Sequence[SegDataSample]): Changed in place.
            predictions (Sequence[SegmentationPrediction]): One for each.
            threshold (float, optional): Instead of the labeller's ``confidence``.

        Returns:
            dict[str, Tensor]: ``ignored``, the share of ignored pixels outside the padding (0-dim).
        """
        threshold = _checked(threshold, self.confidence)
        for sample, prediction in zip(data_samples, predictions):
            labels = prediction.labels
            if threshold > 0:
                labels = torch.where(prediction.confidence < threshold, self.ignore_index, labels)
            target = torch.full_like(labels, self.ignore_index)
            inside = _inside(sample, labels)
            target[inside] = labels[inside]
            sample.gt_sem_seg = PixelData(data=target[None])
        return dict(ignored=self.ignored(data_samples))

    def ignored(self, data_samples: Sequence) -> Tensor:
        """Share of the pixels outside the padding whose target is to be ignored (0-dim)."""
        targets = []
        for sample in data_samples:
            target = sample.gt_sem_seg.data[0]
            targets.append(target[_inside(sample, target)].flatten())
        return (torch.cat(targets) == self.ignore_index).float().mean()

    @staticmethod
    def agreement(predictions_a: Sequence[SegmentationPrediction],
                  predictions_b: Sequence[SegmentationPrediction]) -> Tensor:
        """Share of pixels for which two predictions name the same class (0-dim)."""
        return torch.stack([(a.labels == b.labels).float().mean()
                            for a, b in zip(predictions_a, predictions_b)]).mean()

    def to_raw(self, labels: Any, metainfo: Mapping) -> np.ndarray:
        """File values (uint8) that the data set's own ``LoadAnnotations`` reads as ``labels``.

        Args:
            labels (Tensor | ndarray): Class indices (H, W), ignored pixels as the head's
                ``ignore_index``.
            metainfo (Mapping): The data set's, with ``reduce_zero_label`` and ``label_map``.
        """
        labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        labels = np.where(labels == self.ignore_index, 255, labels)
        return to_raw_labels(labels, bool(metainfo.get('reduce_zero_label')),
                             metainfo.get('label_map'))


class DetectionLabeller:
    """Boxes for MMDetection's detectors.

    Args:
        model (nn.Module): A detector whose ``predict`` gives boxes.
        confidence (float, optional): Boxes with a lower score are left out. Defaults to 0.9, as in
            SoftTeacher.
    """

    default_confidence = 0.9
    minimum_size = 1.0  # pixels; a thinner box has no area to learn from

    def __init__(self, model: nn.Module, confidence: Optional[float] = None) -> None:
        self.confidence = _checked(confidence, self.default_confidence)
        if getattr(model, 'with_mask', False):
            raise NotImplementedError(
                f'theta_C labels boxes so far, and {type(model).__name__} also needs masks: use a '
                'detector without a mask head.')

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor,
                data_samples: Sequence) -> list[InstanceData]:
        """Predicts boxes in the pixels of the batch.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence[DetDataSample]): Read, not changed.

        Returns:
            list[InstanceData]: ``bboxes`` (n, 4) as x1 y1 x2 y2, ``scores`` (n,), ``labels`` (n,).
        """
        # predict writes into the samples it is given, and some heads read their annotations
        own = [type(sample)(metainfo=dict(sample.metainfo)) for sample in data_samples]
        return [sample.pred_instances for sample in model.predict(inputs, own, rescale=False)]

    def assign(self, data_samples: Sequence, predictions: Sequence[InstanceData],
               threshold: Optional[float] = None) -> dict[str, Tensor]:
        """Writes the boxes that are sure enough into ``gt_instances``.

        Returns:
            dict[str, Tensor]: ``ignored``, the share of predicted boxes left out (0-dim).
        """
        threshold = _checked(threshold, self.confidence)
        kept = total = 0
        for sample, prediction in zip(data_samples, predictions):
            sure = self._sure(prediction, threshold)
            sample.gt_instances = InstanceData(bboxes=sure.bboxes.float(), labels=sure.labels)
            sample.ignored_instances = InstanceData(bboxes=sure.bboxes.new_zeros(0, 4).float(),
                                                    labels=sure.labels.new_zeros(0))
            kept, total = kept + len(sure), total + len(prediction)
        return dict(ignored=torch.tensor(1 - kept / total if total else 0.0))

    def ignored(self, data_samples: Sequence) -> Tensor:
        """Share of the annotated boxes that are marked to be ignored (0-dim)."""
        skipped = sum(len(s.get('ignored_instances', ())) for s in data_samples)
        total = skipped + sum(len(s.gt_instances) for s in data_samples)
        return torch.tensor(skipped / total if total else 0.0)

    def _sure(self, prediction: InstanceData, threshold: float) -> InstanceData:
        size = prediction.bboxes[:, 2:] - prediction.bboxes[:, :2]
        return prediction[(prediction.scores >= threshold)
                          & (size > self.minimum_size).all(dim=1)]

    def agreement(self, predictions_a: Sequence[InstanceData],
                  predictions_b: Sequence[InstanceData]) -> Tensor:
        """Share of sure boxes that the other prediction has too: class equal, IoU 0.5 (0-dim)."""
        matched = total = 0
        for a, b in zip(predictions_a, predictions_b):
            a, b = self._sure(a, self.confidence), self._sure(b, self.confidence)
            same = (_iou(a.bboxes, b.bboxes) >= 0.5) & (a.labels[:, None] == b.labels)
            total += len(a) + len(b)
            if len(a) and len(b):
                matched += int(same.any(1).sum() + same.any(0).sum())
        return torch.tensor(matched / total if total else 1.0)


def labeller_for(model: nn.Module, confidence: Optional[float] = None):
    """The labeller for a model.

    Args:
        model (nn.Module): Without wrapper.
        confidence (float, optional): Threshold; None takes the task's default.

    Raises:
        TypeError: No labeller knows this kind of model.
    """
    if is_installed('mmseg'):
        from mmseg.models.segmentors import DepthEstimator, EncoderDecoder
        if isinstance(model, EncoderDecoder) and not isinstance(model, DepthEstimator):
            return SegmentationLabeller(model, confidence)
    if is_installed('mmdet'):
        from mmdet.models.detectors import BaseDetector
        if isinstance(model, BaseDetector):
            return DetectionLabeller(model, confidence)
    raise TypeError(f'theta_C cannot label for {type(model).__name__}: self-improvement works on '
                    "MMSegmentation's segmentors (EncoderDecoder) and MMDetection's detectors.")


def _checked(confidence: Optional[float], default: float) -> float:
    if confidence is None:
        return default
    if not 0 <= confidence <= 1:
        raise ValueError(f'confidence is a probability in [0, 1], not {confidence}.')
    return float(confidence)


def _last_head(model: nn.Module) -> nn.Module:
    """The head that decides: cascades keep a list."""
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _decide(scores: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
    """Scores (N, C, H, W) -> class (N, H, W) int64 and its probability (N, H, W)."""
    if scores.shape[1] == 1:  # binary head
        probability = scores[:, 0].sigmoid()
        labels = probability > head.threshold
        return labels.long(), torch.where(labels, probability, 1 - probability)
    best, labels = scores.max(dim=1)
    if _gives_mask_scores(head):
        return labels, best / scores.sum(dim=1).clamp_min(1e-6)
    # the softmax of the best class, without keeping the others
    return labels, (best - scores.logsumexp(dim=1)).exp()


def _gives_mask_scores(head: nn.Module) -> bool:
    """Whether a head sums mask x class probabilities, which are not logits."""
    from mmseg.models import decode_heads
    names = ('MaskFormerHead', 'Mask2FormerHead', 'SideAdapterCLIPHead')
    return isinstance(head, tuple(getattr(decode_heads, n) for n in names
                                  if hasattr(decode_heads, n)))


def _inside(sample, labels: Tensor) -> tuple[slice, slice]:
    """The part of a label map (H, W) that is not padding of the batch."""
    height, width = labels.shape[-2:]
    left, right, top, bottom = sample.metainfo.get('padding_size', (0, 0, 0, 0))
    return slice(top, height - bottom), slice(left, width - right)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Boxes (n, 4) and (m, 4) -> IoU (n, m)."""
    overlap = (torch.minimum(a[:, None, 2:], b[:, 2:])
               - torch.maximum(a[:, None, :2], b[:, :2])).clamp_min(0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b))
    return overlap / (area_a[:, None] + area_b - overlap).clamp_min(1e-6)
