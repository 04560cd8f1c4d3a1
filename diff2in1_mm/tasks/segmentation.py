"""Label maps: one class for each pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine import fileio
from mmengine.model import BaseModel
from torch import Tensor

from ..utils.errors import UnusableFileError, UserError, first_line
from ..utils.optional import is_a
from ..utils.pictures import overlay
from .base import Label, Labeller, Named, Task, share_of_pixels
from .class_maps import ClassMapLabeller, SegmentationPrediction, last_head, log_probabilities
from .label_values import loaded_labels, to_raw_labels
from .png import decode_png, encode_png
from .registry import register_task

__all__ = [
    'SegmentationLabeller',
    'SegmentationPrediction',
    'SegmentationTask',
    'read_as',
    'share_ignored',
    'source_map',
]


class SegmentationLabeller(ClassMapLabeller):
    """Label maps for MMSegmentation's segmentors.

    Args:
        model (BaseModel): An ``EncoderDecoder``.
        confidence (float, optional): Pixels less sure than this are ignored. Defaults to 0: none.
        **options: See :class:`ClassMapLabeller`.
    """

    task, field = 'segmentation', 'gt_sem_seg'

    @torch.no_grad()
    def losses(self, model: BaseModel, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of a label map at each pixel.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H', W'), whose padding is at the bottom and right.
            targets (Tensor): Class indices (N, H, W), int64; the loss of what is no class is 0.

        Returns:
            Tensor: (N, H, W), float32.
        """
        height, width = targets.shape[-2:]
        scores = self.encode_decode(model, inputs)[..., :height, :width].float()
        known = targets < self.count_classes(model)
        logarithms = log_probabilities(scores, last_head(model))
        found = logarithms.gather(1, torch.where(known, targets, 0)[:, None])[:, 0]
        return torch.where(known, -found, 0)

    def count_classes(self, model: BaseModel) -> int:
        return last_head(model).num_classes

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """The source images' own label maps, for pictures of ``size`` (height, width); None for an image without.

        Raises:
            ValueError: The data set loads no label maps at all.
        """
        return [None if _has_none(entry) else source_map(entry, size, self.ignore_index) for entry in entries]

    def source_levels(
        self, entry: Mapping[str, Any], size: tuple[int, int], table: np.ndarray, default: int
    ) -> np.ndarray:
        """What a table has for the class of each pixel of a source image.

        Args:
            entry (Mapping): Its annotation entry.
            size (tuple[int, int]): Height and width in which it is looked at.
            table (ndarray): One number for each class.
            default (int): For pixels of no class, and for images without a label map.

        Returns:
            ndarray: (H, W), of the table's dtype.
        """
        if _has_none(entry):
            return np.full(size, default, table.dtype)
        labels = read_as(entry)[source_map(entry, size).annotation]
        whole = np.full(256, default, table.dtype)
        whole[: len(table)] = table
        return whole[labels]

    def joined(self, fresh: Label, source: Label, kept: np.ndarray, entry: Mapping[str, Any]) -> Label:
        """The source image's label where ``kept`` (H, W) is True, and elsewhere the model's."""
        raw = np.where(kept, source.annotation, fresh.annotation)
        return Label(raw, dict(fresh.quality, ignored=share_ignored(raw, entry, self.ignore_index)))

    def to_raw(self, labels: Any, metainfo: Mapping) -> np.ndarray:
        """File values (uint8) that the data set's own ``LoadAnnotations`` reads as ``labels``.

        Args:
            labels (Tensor | ndarray): Class indices (H, W), ignored pixels as the head's
                ``ignore_index``; where no file value is read as that, 255 stands for it.
            metainfo (Mapping): The data set's, with ``reduce_zero_label`` and ``label_map``.
        """
        labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        reading = bool(metainfo.get('reduce_zero_label')), metainfo.get('label_map')
        if self.ignore_index not in loaded_labels(*reading):
            labels = np.where(labels == self.ignore_index, 255, labels)
        return to_raw_labels(labels, *reading)


@register_task
class SegmentationTask(Task):
    """Label maps as one-channel uint8 PNG, holding raw file values (see ``to_raw_labels``)."""

    name = 'segmentation'
    labeller: type[Labeller] = SegmentationLabeller
    suffix = '.png'

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """MMSegmentation's segmentors, but for those of depth."""
        return is_a(model, 'mmseg', 'EncoderDecoder', 'MultimodalEncoderDecoder') and not is_a(
            model, 'mmseg', 'DepthEstimator'
        )

    def encode(self, annotation: Any, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Integer array (H, W), values 0..255, of the image's size, to PNG."""
        annotation = np.asarray(annotation)
        self.check_shape(annotation, image_shape)
        if not np.issubdtype(annotation.dtype, np.integer):
            raise UserError(f'the annotation is {annotation.dtype}, not integer labels.')
        if annotation.size and (annotation.min() < 0 or annotation.max() > 255):
            raise UserError(
                "the annotation has label values outside 0..255, which MMSegmentation's LoadAnnotations cannot read."
            )
        return {self.suffix: encode_png(annotation.astype(np.uint8))}

    def decode(self, path: Path) -> np.ndarray:
        """PNG to uint8 array (H, W)."""
        annotation = decode_png(path.read_bytes())
        if annotation is None:
            raise UserError('not a readable PNG')
        return annotation

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For MMSegmentation's ``LoadAnnotations``."""
        info['seg_map_path'] = str(path)

    def draw(
        self, image: np.ndarray, annotation: np.ndarray, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """Colours of the classes over the image."""
        return overlay(image, read_as(entry)[annotation], colours, opacity)

    def shown(self, annotation: np.ndarray, entry: Mapping[str, Any]) -> dict[str, float]:
        return share_of_pixels(read_as(entry)[annotation], self.classes)

    @staticmethod
    def ignore_classes(data_sample: Any, classes: Sequence[int], ignore_index: int = 255) -> None:
        labels = data_sample.gt_sem_seg.data
        for one in classes:
            labels[labels == one] = ignore_index


def share_ignored(raw: np.ndarray, entry: Mapping[str, Any], ignore_index: int = 255) -> float:
    """Share of the pixels of file values (H, W) that are of no class: 255, or what the head ignores."""
    labels = read_as(entry)[raw]
    return float(((labels == 255) | (labels == ignore_index)).mean())


def source_map(entry: Mapping[str, Any], size: tuple[int, int], ignore_index: int = 255) -> Label:
    """What a data set says of an image's pixels, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry with ``seg_map_path``, as MMSegmentation's data sets
            give it, how its values are read (``reduce_zero_label``, ``label_map``), and perhaps
            ``backend_args``, by which its file is. ``label_map_of_picture``, file values of a picture that was
            made of it, come before the file.
        size (tuple[int, int]): Height and width of the generated picture.
        ignore_index (int): What counts as ignored beside 255. Default 255.

    Returns:
        Label: Raw file values (uint8), with confidence 1.

    Raises:
        ValueError: The entry has no label map, or one that is not a single channel of 8 bits.
    """
    raw = entry.get('label_map_of_picture')
    if raw is None:
        raw = _raw_map(entry)
    raw = cv2.resize(raw, size[::-1], interpolation=cv2.INTER_NEAREST)
    return Label(raw, dict(confidence=1.0, ignored=share_ignored(raw, entry, ignore_index)))


def _has_none(entry: Mapping[str, Any]) -> bool:
    """Whether a data set of several kinds of labels says that an image has no label map: None in place of a path."""
    return entry.get('seg_map_path', '') is None and entry.get('label_map_of_picture') is None


def _raw_map(entry: Mapping[str, Any]) -> np.ndarray:
    path = entry.get('seg_map_path')
    if not path:
        # None in place of a path is said of one image, not of a data set
        raise (UnusableFileError if 'seg_map_path' in entry else UserError)(
            f'the entry of {entry.get("img_path")} has no label map, which creation.label_from="source", levels by '
            'class (T) and creation.control take: set label_from="fresh" and one T'
        )
    content = fileio.get(path, entry.get('backend_args'))
    try:
        raw = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
    except OSError as error:
        raise UnusableFileError(f'the label map {path} cannot be read ({first_line(error)})') from error
    if raw is None or raw.ndim != 2 or raw.dtype != np.uint8:
        raise UserError(
            f'{path} is no label map of one channel with 8 bits, which creation.label_from="source" or levels by class '
            '(T) take: set label_from="fresh" and one T'
        )
    return raw


def read_as(entry: Mapping[str, Any]) -> np.ndarray:
    """What the data set makes of each file value, see :func:`loaded_labels`."""
    return loaded_labels(bool(entry.get('reduce_zero_label')), entry.get('label_map'))
