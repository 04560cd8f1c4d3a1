"""What labellers of MMDetection's models share."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

__all__ = [
    'class_count',
    'has_nms',
    'ignores_boxes',
    'learns_masks_of_boxes',
    'new_detection_samples',
    'padded_masks',
    'predict_samples',
    'predicts_panoptic',
    'resized_instances',
    'target_of',
    'target_of_boxes',
    'with_boxes',
]


def predict_samples(model: BaseModel, inputs: Tensor, data_samples: Sequence, rescale: bool = False) -> list[Any]:
    """A detector's predictions in the pixels of the batch, on samples of their own.

    ``predict`` writes into the samples it is given, some heads read their annotations, and mask
    heads scale by ``scale_factor`` even without ``rescale``. ``border``, which CenterNet's head
    demands and takes off the boxes, is 0 in the pixels of the batch. Nothing is mirrored back there, as the mask heads
    of cascades do. Autocast is off: non-maximum suppression knows no bfloat16.

    Args:
        model (BaseModel): MMDetection's.
        inputs (Tensor): Preprocessed images (N, 3, H, W).
        data_samples (Sequence): Their samples; not changed.
        rescale (bool): Whether it is to take the padding away itself, as PanopticFPN does with its maps of stuff only
            so. Default False.
    """
    own = []
    for sample in data_samples:
        metainfo = dict(sample.metainfo)
        metainfo.update(ori_shape=metainfo['img_shape'], scale_factor=(1.0, 1.0), border=(0, 0, 0, 0), flip=False)
        metainfo.setdefault('batch_input_shape', tuple(inputs.shape[-2:]))
        own.append(type(sample)(metainfo=metainfo))
    with torch.autocast(inputs.device.type, enabled=False):
        if _takes_one_image(model):
            return _one_by_one(model, inputs, own, rescale)
        return model.predict(inputs, own, rescale=rescale)


def _takes_one_image(model: BaseModel) -> bool:
    """Whether a head masks its convolutions in testing (guided anchoring), which MMCV does for single images."""
    return any(type(module).__name__ == 'MaskedConv2d' for module in model.modules())


def _one_by_one(model: BaseModel, inputs: Tensor, data_samples: Sequence, rescale: bool) -> list[Any]:
    """Predictions of heads that take one image, on the maps of the whole batch, which may be served."""
    maps = model.extract_feat(inputs)
    found = []
    try:
        for i, sample in enumerate(data_samples):
            rows = tuple(feature[i : i + 1] for feature in maps)
            model.extract_feat = lambda images, rows=rows: rows
            found += model.predict(inputs[i : i + 1], [sample], rescale=rescale)
    finally:
        del model.extract_feat  # the class's own comes back
    return found


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

    bitmaps = BitmapMasks(masks.to(torch.uint8).cpu().numpy(), *masks.shape[-2:])
    return bitmaps if size is None else bitmaps.pad(tuple(size), pad_val=0)


def ignores_boxes(model: BaseModel) -> bool:
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


def class_count(model: BaseModel) -> int | None:
    """Number of a detector's classes; None if no head says so."""
    for head in (
        getattr(model, 'panoptic_fusion_head', None),
        getattr(getattr(model, 'roi_head', None), 'bbox_head', None),
        getattr(model, 'bbox_head', None),
        getattr(model, 'mask_head', None),
    ):
        if isinstance(head, nn.ModuleList):  # a cascade's stages
            head = head[-1]
        count = getattr(head, 'num_classes', None)
        if count is not None:
            return count
    return None


def has_nms(model: BaseModel) -> bool:
    """Whether a detector's ``test_cfg`` suppresses doubles, at any stage's end."""

    def names(cfg: Any) -> bool:
        return isinstance(cfg, Mapping) and ('nms' in cfg or any(map(names, cfg.values())))

    test_cfg = getattr(model, 'test_cfg', None)
    return test_cfg is None or names(test_cfg)


def predicts_panoptic(model: BaseModel) -> bool:
    """Whether what fuses things and stuff gives panoptic maps: a mask transformer may give instances alone."""
    return model.panoptic_fusion_head.test_cfg.get('panoptic_on', True)


def with_boxes(prediction: InstanceData) -> InstanceData:
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


def resized_instances(prediction: InstanceData, size: Sequence[int], to: Sequence[int]) -> InstanceData:
    """A prediction for an image of one size (height, width) in the pixels of another."""
    height, width = (new / old for new, old in zip(to, size))
    result = prediction.new()
    result.bboxes = prediction.bboxes * prediction.bboxes.new_tensor([width, height] * 2)
    if 'masks' in prediction and len(prediction):
        inside = prediction.masks[:, : size[0], : size[1]]
        result.masks = F.interpolate(inside[None].float(), tuple(to), mode='bilinear')[0] >= 0.5
    return result


def target_of(instances: InstanceData, size: tuple[int, int] | None) -> InstanceData:
    """A prediction as annotation, its masks padded to a size (height, width) where one is given."""
    target = InstanceData(bboxes=instances.bboxes.float(), labels=instances.labels)
    if 'masks' in instances:
        target.masks = padded_masks(instances.masks, size)
    return target


def learns_masks_of_boxes(target: InstanceData | None) -> bool:
    """Whether a data preprocessor (BoxInst's) made the masks of a target out of its boxes."""
    return target is not None and 'pairwise_masks' in target


def target_of_boxes(instances: InstanceData, present: InstanceData) -> InstanceData | None:
    """A prediction as BoxInst's annotation: masks that fill the boxes, and which neighbouring pixels look alike.

    The latter, ``pairwise_masks``, is of the image, and the same for each of its objects.

    Args:
        instances (InstanceData): The prediction.
        present (InstanceData): The target that BoxInst's data preprocessor made for the image.

    Returns:
        InstanceData | None: None where ``present`` has no object, and so does not tell which pixels look alike.
    """
    if not len(present):
        return None
    boxes = instances.bboxes.float()
    size = present.masks.height, present.masks.width
    target = InstanceData(bboxes=boxes, labels=instances.labels, masks=padded_masks(_filled(boxes, size), None))
    target.pairwise_masks = present.pairwise_masks[:1].repeat(len(boxes), 1, 1, 1)
    return target


def _filled(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """bool (n, H, W): the pixels that boxes (n, 4) touch, as BoxInst's data preprocessor counts them."""
    first, last = boxes[:, :2].int(), (boxes[:, 2:] + 1).int()
    rows, columns = (torch.arange(side, device=boxes.device) for side in size)
    within_rows = (rows >= first[:, 1:]) & (rows < last[:, 1:])
    within_columns = (columns >= first[:, :1]) & (columns < last[:, :1])
    return within_rows[:, :, None] & within_columns[:, None]
