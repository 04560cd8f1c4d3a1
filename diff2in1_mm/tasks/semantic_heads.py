"""The semantic head of a cascade (HTC, SCNet), which learns from label maps beside boxes and masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor

from ..utils.errors import UnfitError

__all__ = ['IGNORED', 'check_semantic_head', 'give_map', 'map_of', 'semantic_head', 'watched']

#: Of pixels that no class is said of, as MMDetection's data sets and padding have them.
IGNORED = 255


def semantic_head(model: BaseModel) -> Any:
    """A detector's ``FusedSemanticHead`` or ``SCNetSemanticHead``; None where it has none."""
    roi_head: Any = getattr(model, 'roi_head', None)
    return roi_head.semantic_head if getattr(roi_head, 'with_semantic', False) else None


def check_semantic_head(model: BaseModel) -> None:
    """Whether the head leaves pixels alone of which nothing is known, as all of a stored image.

    Raises:
        TypeError: It does not.
    """
    head = semantic_head(model)
    ignored = getattr(getattr(head, 'criterion', None), 'ignore_index', IGNORED)
    if ignored != IGNORED:
        raise UnfitError(
            f'theta_C cannot label for {type(model).__name__}: its semantic head has ignore_index={ignored}, and what '
            f'is unknown of synthetic images is {IGNORED}: set semantic_head.loss_seg.ignore_index to {IGNORED}.'
        )


@contextmanager
def watched(model: BaseModel) -> Iterator[list[Tensor]]:
    """Within, a list gets what the semantic head makes of each batch: classes (N, h, w) at its stride; without: none.

    The most probable class is taken at the head's stride: its loss looks at a target there only, and a hundred
    classes at the size of the image would take a gigabyte.
    """
    head = semantic_head(model)
    found: list[Tensor] = []
    if head is None:
        yield found
        return
    handle = head.register_forward_hook(lambda _, args, outputs: found.append(outputs[0].argmax(1)))
    try:
        yield found
    finally:
        handle.remove()


def map_of(classes: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """One image's classes (h, w) of :func:`watched`, in its pixels.

    Args:
        classes (Tensor): Of the padded image.
        padded (tuple[int, int]): Height and width of the batch.
        size (tuple[int, int]): Of the image, without the padding.

    Returns:
        Tensor: int64, of this size.
    """
    enlarged = F.interpolate(classes[None, None].float(), tuple(padded), mode='nearest')[0, 0].long()
    return enlarged[: size[0], : size[1]]


def give_map(data_sample: Any, label_map: Tensor) -> None:
    """Makes a label map (h, w) the target of the semantic head, in place; around it, to the batch's size, ignored."""
    present = data_sample.get('gt_sem_seg')
    size = tuple(data_sample.metainfo.get('batch_input_shape', label_map.shape))
    whole = torch.full((1, *size), IGNORED, dtype=torch.int64, device=label_map.device)
    whole[0, : label_map.shape[0], : label_map.shape[1]] = label_map
    # a batch's maps are stacked, and those of real images are as they were loaded
    dtype = torch.uint8 if present is None else present.sem_seg.dtype
    data_sample.gt_sem_seg = PixelData(sem_seg=whole.to(dtype))
