"""Images of noise with labels of every kind, for the trial of a model of MMSegmentation or MMDetection."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData

from ..tasks import labeller_for
from ..tasks.semantic_heads import semantic_head

__all__ = ['new_batch', 'with_targets']

_BOXES = ((0.1, 0.1, 0.5, 0.6), (0.4, 0.3, 0.9, 0.9))  # x1, y1, x2, y2 in sides of the image


def new_batch(model: BaseModel, side: int, images: int = 2, masks: bool = True) -> dict[str, Any]:
    """What a data loader gives to a model's data preprocessor.

    Args:
        model (BaseModel): Of a task with classes.
        side (int): Height and width of the images, in pixels.
        images (int): So many. Default 2: one would leave a batch norm over a 1 x 1 map without a deviation.
        masks (bool): Whether objects have masks, as a detector of boxes alone does not expect. Default True.

    Returns:
        dict: ``inputs``, images uint8 (3, H, W), and ``data_samples`` with all that MMSegmentation's or MMDetection's
        data sets may give.
    """
    labeller = labeller_for(model)
    classes = labeller.count_classes(model) or 1
    make = _label_map if labeller.task == 'segmentation' else partial(_objects, with_masks=masks)
    inputs = [torch.randint(0, 256, (3, side, side), dtype=torch.uint8) for _ in range(images)]
    return dict(inputs=inputs, data_samples=[make(model, side, classes) for _ in inputs])


def _metainfo(side: int) -> dict[str, Any]:
    size = (side, side)
    return dict(
        img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0), flip=False, flip_direction=None,
        img_path='noise.png', img_id=0, border=(0, 0, 0, 0), reduce_zero_label=False,
    )  # fmt: skip


def _label_map(model: BaseModel, side: int, classes: int) -> Any:
    from mmseg.structures import SegDataSample

    labels = torch.randint(0, max(classes, 2), (1, side, side))
    return SegDataSample(
        metainfo=_metainfo(side),
        gt_sem_seg=PixelData(data=labels),
        gt_edge_map=PixelData(data=labels % 2),  # PIDNet
    )


def _objects(model: BaseModel, side: int, classes: int, with_masks: bool) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    things = getattr(getattr(model, 'panoptic_fusion_head', None), 'num_things_classes', classes)
    boxes = (torch.tensor(_BOXES) * side).round()
    masks = torch.zeros(len(boxes), side, side, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = 1
    labels = torch.randint(0, things, (len(boxes),))
    sample = DetDataSample(
        metainfo=_metainfo(side),
        gt_instances=InstanceData(bboxes=boxes, labels=labels),
        ignored_instances=InstanceData(bboxes=boxes[:0], labels=labels[:0]),
    )
    if not getattr(model, 'with_rpn', True):  # Fast R-CNN, whose data bring them; others would take these for theirs
        sample.proposals = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))
    if with_masks:
        sample.gt_instances.masks = BitmapMasks(masks.numpy(), side, side)
        sample.ignored_instances.masks = BitmapMasks(masks[:0].numpy(), side, side)
    semantic = semantic_head(model)
    if semantic is not None:
        sample.gt_sem_seg = PixelData(sem_seg=torch.randint(0, semantic.num_classes, (1, side, side)))
    elif classes > things:
        sample.gt_sem_seg = PixelData(sem_seg=torch.randint(things, classes, (1, side, side)))
    return sample


def with_targets(predictions: Sequence[Any], data_samples: Sequence[Any]) -> list[Any]:
    """Boxes as a trained detector would find them where one with drawn weights has found none.

    Args:
        predictions (Sequence): Of any labeller; those of boxes are :class:`InstanceData`.
        data_samples (Sequence): Whose targets are taken.
    """
    filled = []
    for prediction, sample in zip(predictions, data_samples):
        if isinstance(prediction, InstanceData) and not len(prediction):
            target = sample.gt_instances
            found = prediction.new(bboxes=target.bboxes, labels=target.labels, scores=torch.ones(len(target.bboxes)))
            if 'masks' in prediction:
                height, width = sample.metainfo['img_shape'][:2]
                found.masks = target.masks.to_tensor(torch.bool, target.bboxes.device)[:, :height, :width]
            prediction = found.to(target.bboxes.device)
        filled.append(prediction)
    return filled
