"""The tasks that several heads on one backbone may have: their maps, and the labels that they learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmseg.structures import SegDataSample

from .maps import BinaryMaps, DepthMaps, Maps, NormalMaps, PartMaps, SegmentationMaps

__all__ = ['KINDS', 'Kind']


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
