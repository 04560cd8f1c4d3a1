"""Maps of classes: what labellers of segmentation, parts, boundaries and saliency share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import PixelData
from torch import Tensor, nn

from ..utils.optional import is_a
from .base import Label, one_confidence
from .class_proportions import ClassProportions
from .dense import DenseLabeller, inside
from .label_views import LabelViews

__all__ = ['ClassMapLabeller', 'SegmentationPrediction', 'decide', 'last_head', 'log_probabilities']


@dataclass
class SegmentationPrediction:
    """What a segmentor says of one image.

    Attributes:
        labels (Tensor): Class indices (H, W), int64.
        confidence (Tensor): Probability of that class (H, W), float32 in [0, 1]; of several views their mean, times
            their agreement.
        agreement (Tensor | None): Of several views, see :class:`LabelViews`; (H, W).
    """

    labels: Tensor
    confidence: Tensor
    agreement: Tensor | None = None


class ClassMapLabeller(DenseLabeller):
    """Maps of classes, of MMSegmentation's heads.

    Args:
        model (BaseModel): An ``EncoderDecoder``, or what predicts one task of several.
        confidence (float, optional): Pixels less sure than this are ignored. Defaults to 0: none.
        flip, scales, draws: Several views of an image that are averaged, see :class:`LabelViews`. Default: one.
        proportions, proportions_strength: Shares of the classes that the labels of a batch follow, see
            :class:`ClassProportions`. Default: none.
    """

    default_confidence = 0.0
    #: The target of a sample.
    field: str

    def __init__(
        self,
        model: BaseModel,
        confidence: float | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1,),
        draws: int = 1,
        proportions: Sequence[float] | None = None,
        proportions_strength: float = 1.0,
    ) -> None:
        self.confidence: float = one_confidence(confidence, self.default_confidence, self.task)
        self.views = LabelViews(flip, scales, draws)
        self.views.check_model(model)
        head = last_head(model)
        self.ignore_index = head.ignore_index
        self.proportions = None
        if proportions is not None:
            self.proportions = ClassProportions(proportions, proportions_strength)
            self.proportions.check_classes(max(2, head.out_channels))  # a binary head has one channel for both

    @torch.no_grad()
    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[SegmentationPrediction]:
        """Predicts whole images in batch coordinates.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence): Their samples, not changed; ``proportions`` are of what is no padding. A map is as
                large as the batch.
        """
        head = last_head(model)
        if not self.views.several and self.proportions is None:
            labels, confidence = decide(self.encode_decode(model, inputs), head)
            return [SegmentationPrediction(*pair) for pair in zip(labels, confidence)]

        def probabilities(images: Tensor) -> Tensor:
            return log_probabilities(self.encode_decode(model, images), head).exp()

        if self.views.several:
            mean, agreement = self.views.average(model, inputs, probabilities)
        else:
            mean, agreement = probabilities(inputs), None
        if self.proportions is not None:
            mean = self.proportions.follow(mean.clamp_min(1e-12).log(), _inside_all(data_samples, mean[:, 0]))
        labels = (mean[:, 1] > head.threshold).long() if getattr(head, 'out_channels', None) == 1 else mean.argmax(1)
        confidence = mean.gather(1, labels[:, None])[:, 0]
        if agreement is None:
            return [SegmentationPrediction(*one) for one in zip(labels, confidence)]
        return [SegmentationPrediction(*one) for one in zip(labels, confidence * agreement, agreement)]

    def assign(self, data_samples: Sequence, predictions: Sequence[SegmentationPrediction]) -> dict[str, Tensor]:
        """Writes predictions into the target; unsure pixels and padding become ignored.

        Args:
            data_samples (Sequence[SegDataSample]): Changed in place.
            predictions (Sequence[SegmentationPrediction]): One for each.

        Returns:
            dict[str, Tensor]: ``ignored``, the share of ignored pixels outside the padding (0-dim).
        """
        for sample, prediction in zip(data_samples, predictions):
            labels = prediction.labels
            if self.confidence > 0:
                labels = torch.where(prediction.confidence < self.confidence, self.ignore_index, labels)
            target = torch.full_like(labels, self.ignore_index)
            part = inside(sample, labels)
            target[part] = labels[part]
            sample.set_data({self.field: PixelData(data=target[None])})
        return dict(ignored=self.ignored(data_samples))

    def ignored(self, data_samples: Sequence) -> Tensor:
        """Share of the pixels outside the padding whose target is to be ignored (0-dim)."""
        targets = []
        for sample in data_samples:
            target = sample.get(self.field).data[0]
            targets.append(target[inside(sample, target)].flatten())
        return (torch.cat(targets) == self.ignore_index).float().mean()

    @staticmethod
    def agreement(
        predictions_a: Sequence[SegmentationPrediction], predictions_b: Sequence[SegmentationPrediction]
    ) -> Tensor:
        """Share of pixels for which two predictions name the same class (0-dim)."""
        return torch.stack([(a.labels == b.labels).float().mean() for a, b in zip(predictions_a, predictions_b)]).mean()

    def labels(
        self, predictions: Sequence[SegmentationPrediction], size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        height, width = size  # padding is at the bottom and right
        labels = torch.stack([p.labels[:height, :width] for p in predictions])
        confidence = torch.stack([p.confidence[:height, :width] for p in predictions])
        if self.confidence > 0:
            labels = torch.where(confidence < self.confidence, self.ignore_index, labels)
        ignored = (labels == self.ignore_index).float().mean((1, 2))
        figures = torch.stack([confidence.mean((1, 2)), ignored], 1).tolist()
        agreed = [
            {} if p.agreement is None else dict(agreement=float(p.agreement[:height, :width].mean()))
            for p in predictions
        ]
        # int16 holds every class and common ignore indices, in a quarter of the bytes.
        return [
            Label(self.to_raw(label, entry), dict(confidence=c, ignored=i, **more))
            for label, entry, (c, i), more in zip(labels.to(torch.int16).cpu(), entries, figures, agreed)
        ]

    @abstractmethod
    def to_raw(self, labels: Any, metainfo: Mapping) -> np.ndarray:
        """File values, uint8, of class indices (H, W) in which ignored pixels are the head's ``ignore_index``.

        Args:
            labels (Tensor | ndarray): Class indices.
            metainfo (Mapping): Annotation entry of the source image, or the data set's ``metainfo``.
        """


def last_head(model: BaseModel) -> BaseModule:
    """The head that decides: cascades keep a list."""
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def decide(scores: Tensor, head: BaseModule) -> tuple[Tensor, Tensor]:
    """Scores (N, C, H, W) -> class (N, H, W) int64 and its probability (N, H, W)."""
    if scores.shape[1] == 1:  # binary head
        probability = scores[:, 0].sigmoid()
        labels = probability > head.threshold
        return labels.long(), torch.where(labels, probability, 1 - probability)
    best, labels = scores.max(dim=1)
    if _gives_masks(head):
        return labels, best / scores.sum(dim=1).clamp_min(1e-6)
    # the softmax of the best class, without keeping the others
    return labels, (best - scores.logsumexp(dim=1)).exp()


def log_probabilities(scores: Tensor, head: BaseModule) -> Tensor:
    """Of every class, from scores (N, C, H, W); both classes of a binary head."""
    if scores.shape[1] == 1:
        return torch.cat([F.logsigmoid(-scores), F.logsigmoid(scores)], 1)
    if _gives_masks(head):
        return (scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-6)).clamp_min(1e-6).log()
    return scores.log_softmax(dim=1)


def _gives_masks(head: BaseModule) -> bool:
    """Whether scores are sums of mask x class, and no logits."""
    return is_a(head, 'mmseg', 'MaskFormerHead', 'Mask2FormerHead', 'SideAdapterCLIPHead')


def _inside_all(data_samples: Sequence, maps: Tensor) -> Tensor:
    """Which pixels of a batch (N, H, W) are no padding, bool."""
    counted = torch.zeros_like(maps, dtype=torch.bool)
    for sample, own in zip(data_samples, counted):
        own[inside(sample, own)] = True
    return counted
