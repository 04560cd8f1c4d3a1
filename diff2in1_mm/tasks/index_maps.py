"""Maps of classes beside those of the data set: parts of things, boundaries, and what is salient."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.model import BaseModel
from torch import Tensor

from ..utils.pictures import label_colours, overlay
from .base import Label
from .class_maps import ClassMapLabeller
from .dense import ReadsSources, read_source
from .registry import register_task
from .segmentation import SegmentationTask

__all__ = ['BoundariesLabeller', 'BoundariesTask', 'PartsLabeller', 'PartsTask', 'SaliencyLabeller', 'SaliencyTask']

#: Of pixels that do not count, in files of a store as in targets.
_IGNORED = 255


class _IndexLabeller(ReadsSources, ClassMapLabeller):
    """Class indices whose files hold them as they are."""

    @property
    def _field(self) -> str:  # type: ignore[override]
        return self.field

    def count_classes(self, model: BaseModel) -> int | None:
        """None: the classes are not those of the data set."""
        return None

    def to_raw(self, labels: Any, metainfo: Mapping) -> np.ndarray:
        """As they are; 255 for what is ignored."""
        labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        return np.where(labels == self.ignore_index, _IGNORED, labels).astype(np.uint8)

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """The source images' own maps, for pictures of ``size`` (height, width); None for an image without one."""
        found = [read_source(entry, self._read, self._field) for entry in entries]
        return [None if indices is None else _label(indices, size) for indices in found]


def _label(indices: np.ndarray, size: tuple[int, int]) -> Label:
    indices = cv2.resize(indices, size[::-1], interpolation=cv2.INTER_NEAREST)
    return Label(indices, dict(confidence=1.0, ignored=float((indices == _IGNORED).mean())))


class PartsLabeller(_IndexLabeller):
    """Parts of things, such as those of human bodies; 0 is what is no part."""

    task, field, _loader = 'parts', 'gt_part_map', 'LoadParts'


class BoundariesLabeller(_IndexLabeller):
    """Where things end: 1, where the head's ``threshold`` is passed, and 0."""

    task, field, _loader = 'boundaries', 'gt_boundary_map', 'LoadBoundaries'


class SaliencyLabeller(_IndexLabeller):
    """What an eye looks at first: 1, where the head's ``threshold`` is passed, and 0."""

    task, field, _loader = 'saliency', 'gt_saliency_map', 'LoadSaliency'


class _IndexTask(SegmentationTask):
    """Class indices as one-channel uint8 PNG; 255 where a pixel does not count."""

    #: As in an annotation entry, ``NAME_map_path``.
    entry: str

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """None: a model says so in ``label_tasks``."""
        return False

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For the loader, which is told that the file holds indices."""
        info.update({f'{self.entry}_map_path': str(path), f'{self.entry}_map_indexed': True})

    def shown(self, annotation: Any, entry: Mapping[str, Any]) -> dict[str, float]:
        """Nothing: the classes are not those of the data set."""
        return {}

    @staticmethod
    def ignore_classes(data_sample: Any, classes: Sequence[int], ignore_index: int = 255) -> None:
        """No change: the classes are not those of the data set."""


@register_task
class PartsTask(_IndexTask):
    """Indices of parts; 0 is none."""

    name, labeller, entry = 'parts', PartsLabeller, 'part'

    def draw(
        self, image: np.ndarray, annotation: Any, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """Colours of the parts over the image, which shows where there is none."""
        own = label_colours(int(np.where(annotation == _IGNORED, 0, annotation).max(initial=0)) + 1)
        painted = overlay(image, annotation, own, opacity)
        return np.where((annotation == 0)[..., None], image, painted)


class _BinaryTask(_IndexTask):
    def draw(
        self, image: np.ndarray, annotation: Any, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """White where it is, dark grey elsewhere, black where a pixel does not count; in place of the image."""
        return overlay(image, annotation, np.array([[60] * 3, [255] * 3], np.uint8), 1.0)


@register_task
class BoundariesTask(_BinaryTask):
    """1 on a boundary, 0 beside."""

    name, labeller, entry = 'boundaries', BoundariesLabeller, 'boundary'


@register_task
class SaliencyTask(_BinaryTask):
    """1 where something is salient, else 0."""

    name, labeller, entry = 'saliency', SaliencyLabeller, 'saliency'
