"""The tasks that several heads on one backbone may have: their maps, and the labels that they learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.vpd_depth_head import VPDDepthHead
from mmseg.structures import SegDataSample

from ...utils.errors import UserError
from .maps import BinaryMaps, DepthMaps, Maps, NormalMaps, PartMaps, SegmentationMaps

__all__ = ['KINDS', 'Kind', 'check_head']

# What a head may learn -> one that does.
_SUCH_AS = dict(classes='FPNHead', depth='FPNDepthHead', normals='FPNNormalHead')


@dataclass(frozen=True)
class Kind:
    """A task.

    Attributes:
        field: Of a sample, what it learns from.
        maps: Head -> its kind of map.
        classes: Whether it decides for classes, with MMSegmentation's heads, or regresses.
    """

    field: str
    maps: Callable[[Any], Maps]
    classes: bool = True

    def has(self, sample: Any) -> bool:
        """Whether a sample has labels of this task."""
        return self.field in sample

    def seen(self, samples: Sequence) -> list[Any]:
        """Samples as a head takes them: those of classes find their label where MMSegmentation has it."""
        if not self.classes or self.field == 'gt_sem_seg':
            return list(samples)
        return [self._renamed(sample) for sample in samples]

    def _renamed(self, sample: Any) -> SegDataSample:
        found = SegDataSample(metainfo=sample.metainfo)
        found.gt_sem_seg = sample.get(self.field)
        return found


KINDS: dict[str, Kind] = dict(
    segmentation=Kind('gt_sem_seg', lambda head: SegmentationMaps(head.threshold or 0.3)),
    depth=Kind('gt_depth_map', lambda head: DepthMaps(), classes=False),
    normals=Kind('gt_normal_map', lambda head: NormalMaps(), classes=False),
    parts=Kind('gt_part_map', lambda head: PartMaps()),
    boundaries=Kind('gt_boundary_map', lambda head: BinaryMaps('pred_boundary_map')),
    saliency=Kind('gt_saliency_map', lambda head: BinaryMaps('pred_saliency_map')),
)


def check_head(task: str, head: Any) -> None:
    """Refuses a head that learns something else than its task, as far as it can be told.

    Args:
        task (str): One of :data:`KINDS`.
        head (nn.Module): Built.

    Raises:
        ValueError: It learns from other labels, or has more channels than a task of two classes takes.
    """
    wanted, found = 'classes' if KINDS[task].classes else task, _learned_by(head)
    if found is not None and found != wanted:
        raise UserError(
            f'heads.{task} of MultiTaskEstimator is {type(head).__name__}, which learns {found}: give a head that '
            f'learns {wanted}, such as {_SUCH_AS[wanted]}'
        )
    if task in ('boundaries', 'saliency') and head.out_channels != 1:
        raise UserError(
            f'the head of {task} has {head.out_channels} channels: give it num_classes=2, '
            "out_channels=1, threshold=0.5 and loss_decode=dict(type='BalancedBCELoss')"
        )


def _learned_by(head: Any) -> str | None:
    """'classes', 'depth' or 'normals'; None of a head of one's own, whose loss may be about anything."""
    if hasattr(head, 'learns'):  # ours
        return head.learns
    own = [getattr(type(head), name, None) for name in ('loss', 'loss_by_feat')]
    if not isinstance(head, BaseDecodeHead) or not all(_is_mmsegs(method) for method in own):
        return None
    return 'depth' if isinstance(head, VPDDepthHead) else 'classes'


def _is_mmsegs(method: Any) -> bool:
    return str(getattr(method, '__module__', '')).partition('.')[0] == 'mmseg'
