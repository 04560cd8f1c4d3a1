"""Panoptic maps from MMDetection's mask transformers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from ...utils.errors import UserError
from ..codecs.panoptic import PanopticMap
from .base import Label, Labeller, checked_confidence
from .detection import class_count, new_detection_samples, padded_masks, predict_samples

__all__ = ['PanopticLabeller', 'PanopticPrediction']

_OFFSET = 1000  # MMDetection's INSTANCE_OFFSET: value = class + instance * 1000
_IGNORED = 255  # of semantic maps


class PanopticPrediction(NamedTuple):
    """Segments of one image.

    Attributes:
        ids: Segment of each pixel, int64 (h, w) in 0..n; 0 where nothing is sure.
        labels: Class of segments 1..n, int64 (n,). Things come before stuff as class indices.
    """

    ids: Tensor
    labels: Tensor


class PanopticLabeller(Labeller):
    """Things and stuff of a ``MaskFormer`` or ``Mask2Former`` with ``panoptic_on``.

    Args:
        model (nn.Module): The segmentor.
        confidence (float | None): Segments less sure are left out. Their pixels are void (255), of
            which MMDetection makes no mask; but they count as outside of all others, as mask
            transformers cannot ignore pixels. None: the ``object_mask_thr`` of the model's
            ``test_cfg`` (0.8).
        allow_empty (bool): Whether a map without any segment is a valid target. Otherwise a sample
            keeps the target it has, and creation stores no such sample. Default False.
    """

    task = 'panoptic'

    def __init__(self, model: nn.Module, confidence: float | None = None, allow_empty: bool = False) -> None:
        head = model.panoptic_fusion_head
        self.confidence = checked_confidence(confidence, head.test_cfg.get('object_mask_thr', 0.8))
        if isinstance(self.confidence, tuple):
            raise UserError('confidence is one number for panoptic maps, not one for each class.')
        self.things, self.classes = head.num_things_classes, head.num_classes
        self.allow_empty = allow_empty

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor, data_samples: Sequence) -> list[PanopticPrediction]:
        """Predict in the pixels of the batch, without its padding; see :meth:`Labeller.predict`."""
        with self._threshold(model):
            predicted = predict_samples(model, inputs, data_samples)
        return [self._segments(sample.pred_panoptic_seg.sem_seg[0]) for sample in predicted]

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[PanopticPrediction]) -> dict[str, Tensor]:
        void = []
        for sample, (ids, labels) in zip(data_samples, predictions):
            void.append((ids == 0).float().mean())
            if not len(labels) and not self.allow_empty:
                continue
            size = sample.metainfo.get('batch_input_shape', tuple(ids.shape))
            things = (labels < self.things).nonzero()[:, 0]
            masks = ids == (things + 1)[:, None, None]
            sample.gt_instances = InstanceData(
                bboxes=_boxes_of(masks), labels=labels[things], masks=padded_masks(masks, size)
            )
            sample.ignored_instances = InstanceData(
                bboxes=ids.new_zeros(0, 4).float(), labels=labels[:0], masks=padded_masks(masks[:0], size)
            )
            sample.gt_sem_seg = PixelData(sem_seg=self._semantic(ids, labels, size)[None])
        return dict(ignored=torch.stack(void).mean())

    def ignored(self, data_samples: Sequence) -> Tensor:
        shares = []
        for sample in data_samples:
            height, width = sample.metainfo['img_shape'][:2]
            inside = sample.gt_sem_seg.sem_seg[0, :height, :width]
            shares.append((inside == _IGNORED).float().mean())
        return torch.stack(shares).mean()

    def agreement(
        self, predictions_a: Sequence[PanopticPrediction], predictions_b: Sequence[PanopticPrediction]
    ) -> Tensor:
        """Share of pixels that have one class, or none, in both predictions (0-dim)."""
        return torch.stack(
            [
                (self._semantic(*a, a.ids.shape) == self._semantic(*b, b.ids.shape)).float().mean()
                for a, b in zip(predictions_a, predictions_b)
            ]
        ).mean()

    def count_classes(self, model: nn.Module) -> int | None:
        return class_count(model)

    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        return new_detection_samples(count, size)

    def labels(
        self, predictions: Sequence[PanopticPrediction], size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        return [
            self._label(prediction) if len(prediction.labels) or self.allow_empty else None
            for prediction in predictions
        ]

    def resized(
        self, predictions: Sequence[PanopticPrediction], size: Sequence[int], to: Sequence[int]
    ) -> list[PanopticPrediction]:
        """Predictions for images of one size (height, width) in the pixels of another."""
        return [_resized(prediction, to) for prediction in predictions]

    def _label(self, prediction: PanopticPrediction) -> Label:
        labels = prediction.labels.cpu().numpy()
        annotation = PanopticMap(prediction.ids.cpu().numpy(), labels, self.things)
        void = float((prediction.ids == 0).float().mean())
        # a segment's own score is not part of what MMDetection returns: the threshold bounds it
        return Label(
            annotation,
            dict(confidence=float(self.confidence), ignored=void, instances=float((labels < self.things).sum())),
        )

    def _segments(self, values: Tensor) -> PanopticPrediction:
        """MMDetection's values (h, w) to segments."""
        found, ids = values.long().unique(return_inverse=True)
        labels = found % _OFFSET
        void = labels >= self.classes  # sorts anywhere: one value, the number of classes
        places = torch.where(void, 0, (~void).cumsum(0))
        return PanopticPrediction(places[ids], labels[~void])

    @staticmethod
    def _semantic(ids: Tensor, labels: Tensor, size: Sequence[int]) -> Tensor:
        """Classes (H, W) of a size that is at least the map's; ignored where there is none."""
        table = torch.cat([labels.new_tensor([_IGNORED]), labels])
        whole = labels.new_full(tuple(size), _IGNORED)
        whole[: ids.shape[0], : ids.shape[1]] = table[ids]
        return whole

    @contextmanager
    def _threshold(self, model: nn.Module) -> Iterator[None]:
        """The model's own test threshold comes back afterwards."""
        head = model.panoptic_fusion_head
        before = head.test_cfg
        head.test_cfg = {**before, 'object_mask_thr': self.confidence, 'instance_on': False, 'panoptic_on': True}
        try:
            yield
        finally:
            head.test_cfg = before


def _resized(prediction: PanopticPrediction, to: Sequence[int]) -> PanopticPrediction:
    """Segments too small for any pixel of the new size go."""
    ids = F.interpolate(prediction.ids[None, None].float(), tuple(to), mode='nearest-exact')[0, 0]
    found, ids = ids.long().unique(return_inverse=True)
    segments = found[found > 0]
    if len(segments) == len(found):  # nothing is void, so the first segment became 0
        ids = ids + 1
    return PanopticPrediction(ids, prediction.labels[segments - 1])


def _boxes_of(masks: Tensor) -> Tensor:
    """Boxes (n, 4), x1 y1 x2 y2 with the far edge outside, of bool masks (n, h, w), none empty."""
    from mmdet.structures.mask import mask2bbox

    return mask2bbox(masks) if len(masks) else masks.new_zeros((0, 4), dtype=torch.float)
