"""What all formats take of a sample: its picture, and its label as regions or as one map."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..store.records import SampleRecord
from ..store.reviews import Reviews, Verdicts
from ..store.store import SyntheticStore
from ..tasks.coco import box_of
from ..tasks.instances import Instances
from ..tasks.label_values import to_raw_labels
from ..tasks.panoptic import PanopticMap
from ..tasks.segmentation import read_as
from ..utils.errors import UserError

__all__ = [
    'IGNORED',
    'KINDS',
    'Labelled',
    'Region',
    'Sample',
    'annotation_of',
    'box_around',
    'rejected_in',
    'samples_of',
    'size_of',
    'without',
]

#: Kinds of labels that formats hold; of a store with several the first of these.
KINDS = ('panoptic', 'instances', 'segmentation')
IGNORED = 255  # of maps


@dataclass(frozen=True)
class Region:
    """A part of an image that has one class.

    Attributes:
        label: Index of the class.
        box: x1 y1 x2 y2 in pixels, the far edges outside.
        mask: bool (H, W); None of a plain box.
        score: Confidence in [0, 1]; 1 of what a person drew.
        ignored: Whether the loss is to leave it alone.
        entry: File and entry that it was read from, for sentences.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    score: float = 1.0
    ignored: bool = False
    entry: str = ''


class Labelled(NamedTuple):
    """An image of another tool's file.

    Attributes:
        id: Name of the image's file without its ending.
        size: Height and width that the file says.
        regions: Reads its regions; UserError if one is malformed. Call it once the size is known to be that of the
            sample: no entry takes much memory then.
    """

    id: str
    size: tuple[int, int]
    regions: Callable[[], list[Region]]


@dataclass(frozen=True)
class Sample:
    """One accepted sample.

    Attributes:
        record: As people have changed it.
        image: Its file.
        size: Height and width.
        kind: One of :data:`KINDS`.
        annotation: As the task decodes it.
        classes: Names.
        others: Files of the labels of the store's other tasks, by task.
        rejected: Indices of classes that people found wrong in this label: ignored in all that is asked of it.
    """

    record: SampleRecord
    image: Path
    size: tuple[int, int]
    kind: str
    annotation: Any
    classes: tuple[str, ...]
    others: Mapping[str, Path] = field(default_factory=dict)
    rejected: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """str: Name of its files."""
        return self.record.id

    def copy_image(self, to: Path) -> Path:
        """Its picture as it is, under another name; returns that."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.image, to)
        return to

    def copy_others(self, folder: Path) -> dict[str, Path]:
        """Labels of the other tasks as the store has them, ``FOLDER/TASK/ID.*``; by task."""
        copies = {task: folder / task / f'{self.id}{path.suffix}' for task, path in self.others.items()}
        for task, copy in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.others[task], copy)
        return copies

    def regions(self) -> list[Region]:
        """Objects; of panoptic maps segments; of label maps one region for each class that is there."""
        if self.kind == 'instances':
            found: Instances = self.annotation
            masks = [None] * len(found.labels) if found.masks is None else list(found.masks)
            rows = zip(found.labels, found.bboxes, masks, found.scores, found.ignored)
            return [
                Region(int(label), tuple(map(float, box)), mask, float(score), bool(ignored))  # type: ignore[arg-type]
                for label, box, mask, score, ignored in rows
            ]
        if self.kind == 'panoptic':
            segments: PanopticMap = self.annotation
            pairs = [(int(label), segments.ids == place + 1) for place, label in enumerate(segments.labels)]
        else:
            labels = self.map()
            pairs = [(label, labels == label) for label in range(len(self.classes))]
        return [Region(label, box_around(mask), mask) for label, mask in pairs if mask.any()]

    def map(self) -> np.ndarray:
        """Class indices, uint8 (H, W); :data:`IGNORED` where there is none.

        Raises:
            UserError: The store holds boxes.
        """
        if self.kind == 'instances':
            raise UserError(
                'this format holds a class for each pixel, and the store has objects, which may lie over each other: '
                'choose coco, voc, yolo, cvat, label-studio, fiftyone, hf-datasets or webdataset'
            )
        if self.kind == 'panoptic':
            return np.append(IGNORED, self.annotation.labels).astype(np.uint8)[self.annotation.ids]
        labels = read_as(self.record.entry)[self.annotation]
        return np.where(np.isin(labels, self.rejected), IGNORED, labels).astype(np.uint8)


def samples_of(store: SyntheticStore, round: int | None = None) -> Iterator[Sample]:
    """The accepted samples of a round (None: of all), one after the other.

    Raises:
        UserError: The store's labels are of no kind that formats hold.
    """
    kind = next((kind for kind in KINDS if kind in store.tasks), None)
    if kind is None:
        raise UserError(
            f'{store.root} holds {", ".join(store.tasks)}, which these formats have not: its own files are PNG and NPY'
        )
    verdicts = Reviews(store.root).verdicts()
    for record in store.accepted(round, verdicts):
        others = {task: Path(path) for task, path in store.annotation_paths(record).items()}
        rejected = rejected_in(record, store, verdicts)
        annotation = without(store.codecs[kind].decode(others.pop(kind)), rejected)
        path = Path(store.image_path(record))
        yield Sample(record, path, size_of(path), kind, annotation, store.classes, others, rejected)


def rejected_in(record: SampleRecord, store: SyntheticStore, verdicts: Verdicts) -> tuple[int, ...]:
    """Indices of the classes that people found wrong in a sample's label."""
    wrong = verdicts.classes.get(record.id, frozenset())
    return tuple(index for index, name in enumerate(store.classes) if name in wrong)


def without(annotation: Any, rejected: Sequence[int]) -> Any:
    """Objects with these classes ignored; panoptic maps with their segments void. Label maps as they are: their values
    are those of files, see :meth:`Sample.map`."""
    if isinstance(annotation, Instances):
        return annotation._replace(ignored=annotation.ignored | np.isin(annotation.labels, rejected))
    if isinstance(annotation, PanopticMap):
        void = np.append(False, np.isin(annotation.labels, rejected))
        return annotation._replace(ids=np.where(void[annotation.ids], 0, annotation.ids))
    return annotation


def size_of(image: Path) -> tuple[int, int]:
    """Height and width, as a picture's header says."""
    with Image.open(image) as opened:
        return opened.height, opened.width


def box_around(mask: np.ndarray) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2, the far edges outside, of a bool mask (H, W) that is not empty."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)


def annotation_of(
    regions: Sequence[Region],
    kind: str,
    size: tuple[int, int],
    record: SampleRecord,
    num_things: int = 0,
    with_masks: bool = False,
) -> Any:
    """Regions as a task takes its annotation; the later ones lie over the earlier.

    Args:
        regions (Sequence[Region]): Of one image.
        kind (str): Of the task.
        size (tuple[int, int]): Height and width.
        record (SampleRecord): Of the sample: how the values of a label map are read.
        num_things (int): For panoptic maps.
        with_masks (bool): Whether objects must have masks, as the others of the store have.

    Raises:
        UserError: Boxes where outlines are taken, a box without area in the image, or a label that no file value
            stands for.
    """
    if kind == 'instances':
        return _instances(regions, size, with_masks)
    ids = np.zeros(size, int)
    for number, region in enumerate(regions):
        if region.mask is None:
            raise UserError(f'{region.entry} is a box, and the store holds a class for each pixel: draw its outline')
        ids[region.mask] = 0 if region.ignored else number + 1
    labels = np.array([region.label for region in regions], int)
    if kind == 'panoptic':
        # segments that others cover are none: the task counts those that are there
        visible, ids = np.unique(np.append(0, ids), return_inverse=True)
        return PanopticMap(ids[1:].reshape(size), labels[visible[1:] - 1], num_things)
    entry = record.entry
    return to_raw_labels(np.append(IGNORED, labels)[ids], entry['reduce_zero_label'], entry['label_map'])


def _instances(regions: Sequence[Region], size: tuple[int, int], with_masks: bool) -> Instances:
    for region in regions:
        if min(box_of(region.box, size)[2:]) <= 0:  # the task would leave it out
            raise UserError(f'{region.entry} has no area inside the image: correct its box, or remove it')
        if with_masks and region.mask is None:
            raise UserError(f"{region.entry} is a box, and the store's objects have masks: draw its outline")
    masks = [region.mask for region in regions]
    return Instances(
        np.array([region.box for region in regions], float).reshape(-1, 4),
        np.array([region.label for region in regions], int),
        np.array([region.score for region in regions], float),
        np.array([region.ignored for region in regions], bool),
        np.stack(masks) if masks and all(mask is not None for mask in masks) else None,  # type: ignore[arg-type]
    )
