"""Panoptic maps: things and stuff, each pixel in one segment."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from ..utils.errors import UserError
from ..utils.optional import is_a
from ..utils.pictures import overlay
from .base import Label, Labeller, Named, Task, one_confidence, share_of_pixels
from .coco import check_labels, file_name, image_entry, merged, read_coco
from .detectors import class_count, new_detection_samples, padded_masks, predict_samples, predicts_panoptic
from .png import decode_png, encode_png
from .registry import register_task

__all__ = ['PanopticLabeller', 'PanopticMap', 'PanopticPrediction', 'PanopticTask']

_OFFSET = 1000  # MMDetection's INSTANCE_OFFSET: value = class + instance * 1000
_IGNORED = 255  # of semantic maps


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


def _segment(mask: np.ndarray, number: int, label: int) -> dict[str, Any]:
    """Entry of ``segments_info`` for the pixels (H, W) of a segment."""
    rows, columns = np.nonzero(mask)
    box = [0, 0, 0, 0]
    if len(rows):
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    return dict(id=number, category_id=label + 1, area=int(mask.sum()), bbox=box, iscrowd=0)


def _edges(ids: np.ndarray) -> np.ndarray:
    """Pixels (H, W) whose right or lower neighbour is of another segment."""
    edges = np.zeros(ids.shape, bool)
    edges[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edges[:-1] |= ids[1:] != ids[:-1]
    return edges


class PanopticPrediction(NamedTuple):
    """Segments of one image.

    Attributes:
        ids: Segment of each pixel, int64 (h, w) in 0..n; 0 where nothing is sure.
        labels: Class of segments 1..n, int64 (n,). Things come before stuff as class indices.
    """

    ids: Tensor
    labels: Tensor


class PanopticLabeller(Labeller):
    """Things and stuff of a ``MaskFormer`` or ``Mask2Former`` with ``panoptic_on``, or of a ``PanopticFPN``.

    Args:
        model (BaseModel): The segmentor.
        confidence (float | None): Segments less sure are left out. Their pixels are void (255), of
            which MMDetection makes no mask; but they count as outside of all others, as mask
            transformers cannot ignore pixels. None: the ``object_mask_thr`` of the model's
            ``test_cfg`` (0.8). PanopticFPN scores things alone: None is the ``score_thr`` of its ``test_cfg.rcnn``
            (0.6), and what it takes for stuff is a segment from ``stuff_area_limit`` pixels on.
        allow_empty (bool): Whether a map without any segment is a valid target. Otherwise a sample
            keeps the target it has, and creation stores no such sample. Default False.
    """

    task = 'panoptic'

    def __init__(self, model: BaseModel, confidence: float | None = None, allow_empty: bool = False) -> None:
        head = model.panoptic_fusion_head
        owner, key = _thresholded(model)
        default = owner.test_cfg.get(key, 0.8)
        self.confidence: float = one_confidence(confidence, default, 'panoptic maps')
        self.things, self.classes = head.num_things_classes, head.num_classes
        self.allow_empty = allow_empty

    @torch.no_grad()
    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[PanopticPrediction]:
        """Predict in the pixels of the batch, without its padding; see :meth:`Labeller.predict`."""
        with self._threshold(model):
            predicted = predict_samples(model, inputs, data_samples, rescale=_is_two_stage(model))
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

    def count_classes(self, model: BaseModel) -> int | None:
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
            annotation, dict(confidence=self.confidence, ignored=void, instances=float((labels < self.things).sum()))
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
    def _threshold(self, model: BaseModel) -> Iterator[None]:
        """The model's own test threshold comes back afterwards."""
        owner, key = _thresholded(model)
        before = owner.test_cfg
        outputs = {} if _is_two_stage(model) else dict(instance_on=False, panoptic_on=True)
        owner.test_cfg = ConfigDict({**before, key: self.confidence, **outputs})
        try:
            yield
        finally:
            owner.test_cfg = before


def _is_two_stage(model: BaseModel) -> bool:
    return is_a(model, 'mmdet', 'TwoStagePanopticSegmentor')


def _thresholded(model: BaseModel) -> tuple[Any, str]:
    """The part of a model whose ``test_cfg`` says how sure a segment has to be, and by which key."""
    if _is_two_stage(model):
        return model.roi_head, 'score_thr'
    return model.panoptic_fusion_head, 'object_mask_thr'


@register_task
class PanopticTask(Task):
    """``ID.png`` with segment ids as R + 256 G + 65536 B, and ``ID.json`` saying what they are.

    Category ids are class indices plus 1; things come before stuff, as in MMDetection.
    """

    name, labeller = 'panoptic', PanopticLabeller
    suffix = '.json'
    _picture = '.png'

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """MMDetection's mask transformers with ``panoptic_on``, and PanopticFPN."""
        return is_a(model, 'mmdet', 'MaskFormer', 'TwoStagePanopticSegmentor') and predicts_panoptic(model)

    def encode(self, annotation: PanopticMap, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Segments to COCO's two files."""
        # 256 fits no integer of 8 bits
        ids = np.asarray(annotation.ids).astype(np.int64)
        labels = np.asarray(annotation.labels)
        self.check_shape(ids, image_shape)
        if ids.min() < 0 or ids.max() > len(labels):
            raise UserError(f'the annotation has segments {ids.min()} to {ids.max()}, but says what {len(labels)} are.')
        check_labels(labels, len(self.classes))
        categories = [
            dict(id=i + 1, name=name, isthing=int(i < annotation.num_things)) for i, name in enumerate(self.classes)
        ]
        segments = [_segment(ids == i + 1, i + 1, int(label)) for i, label in enumerate(labels)]
        content = dict(
            images=[image_entry(record, image_shape)],
            annotations=[
                dict(
                    image_id=record.number,
                    file_name=str(Path(file_name(record)).with_suffix(self._picture)),
                    segments_info=[s for s in segments if s['area']],
                )
            ],
            categories=categories,
        )
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        return {self.suffix: json.dumps(content).encode(), self._picture: encode_png(colours)}

    def decode(self, path: Path) -> PanopticMap:
        """The two files to segments, numbered anew: there are gaps where a segment without pixels was left out.

        Raises:
            ValueError: No PNG in colour, or one that shows a segment of which the other file says nothing.
        """
        segments = self._segments(path)
        categories = read_coco(path)['categories']
        picture = decode_png(path.with_suffix(self._picture).read_bytes())
        if picture is None or picture.ndim != 3:
            raise UserError('not a readable PNG in colour')
        red, green, blue = np.moveaxis(picture.astype(np.int64), -1, 0)
        places = {0: 0, **{segment['id']: place for place, segment in enumerate(segments, 1)}}
        shown, ids = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
        unnamed = [int(number) for number in shown if number not in places]
        if unnamed:
            raise UserError(f'the PNG shows segment {unnamed[0]}, of which {path.name} does not say what it is')
        labels = np.array([s['category_id'] - 1 for s in segments], int)
        numbers = np.array([places[number] for number in shown.tolist()])[ids.reshape(red.shape)]
        return PanopticMap(numbers, labels, sum(c['isthing'] for c in categories))

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

    def merge(self, paths: Iterable[Path]) -> dict[str, Iterable[bytes]]:
        """The round's ``panoptic.json``."""
        return {'panoptic.json': merged(paths)}

    def draw(
        self, image: np.ndarray, annotation: PanopticMap, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """Colours of the classes over the image, and white lines between segments."""
        labels = np.append(255, annotation.labels)[annotation.ids]
        edges = _edges(annotation.ids)
        return np.where(edges[..., None], np.uint8(255), overlay(image, labels, colours, opacity))

    def shown(self, annotation: PanopticMap, entry: Mapping[str, Any]) -> dict[str, float]:
        return share_of_pixels(np.append(_IGNORED, annotation.labels)[annotation.ids], self.classes)

    @staticmethod
    def ignore_classes(data_sample: Any, classes: Sequence[int], ignore_index: int = 255) -> None:
        """Their segments go; mask transformers, which cannot ignore pixels, see nothing there."""
        found = data_sample.gt_instances
        data_sample.gt_instances = found[~torch.isin(found.labels, found.labels.new_tensor(list(classes)))]
        labels = data_sample.gt_sem_seg.sem_seg
        for one in classes:
            labels[labels == one] = ignore_index

    @staticmethod
    def _segments(path: Path) -> list[dict[str, Any]]:
        (annotation,) = read_coco(path)['annotations']
        return annotation['segments_info']


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
