"""How far the labels that theta_C gave created images agree with those of their source images.

A generated picture shows much the same scene as its source, so that the source's own label is about right for it: what
theta_C calls otherwise is its mistake, or something that the noise has changed. A small share in one class says which.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from ..datasets.source_images import transforms_of
from ..store.records import SampleRecord
from ..store.store import SyntheticStore
from ..tasks.segmentation import read_as
from ..utils.errors import UserError, first_line
from .batch_labels import BatchLabels
from .plan import source_entry

__all__ = ['Agreement', 'agreement_with_sources', 'labels_of_sources']

#: What the figure of a kind of label is, in words.
MEANING = dict(
    segmentation='share of the pixels',
    instances='share of the boxes',
    normals='mean cosine',
    depth='share of the pixels within a quarter',
    depth_npy='share of the pixels within a quarter',
)


@dataclass
class Agreement:
    """Of the samples that were looked at.

    Attributes:
        samples (int): How many.
        figures (dict[str, float]): Kind of label -> its figure, see :data:`MEANING`; 1 where all is alike.
        classes (dict[str, float]): Class -> intersection over union of both label maps, in [0, 1].
        shares (dict[str, float]): Class -> how much of it the sources' labels show, as
            :func:`~diff2in1_mm.store.upkeep.class_shares` has it of samples.
    """

    samples: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


def labels_of_sources(model: BaseModel, dataset: Any, labelling: Mapping[str, Any] | None = None) -> BatchLabels | None:
    """What reads the source images' own labels; None where the data set has none of the model's kinds.

    Args:
        model (BaseModel): Says which kinds are wanted.
        dataset: ``SyntheticMixDataset``, or the real data set.
        labelling (Mapping | None): As :class:`~diff2in1_mm.creation.settings.CreationSettings` has it.
    """
    try:
        labels = BatchLabels(model, 'source', labelling=labelling, transforms=transforms_of(dataset))
        labels(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), {}, [source_entry(dataset, 0)])
    except (UserError, OSError):  # there are none of these kinds
        return None
    except Exception as error:  # of whatever reads labels
        _tell_unread(error)
        return None
    return labels


def agreement_with_sources(
    model: BaseModel, dataset: Any, store: SyntheticStore, records: Iterable[SampleRecord], settings: Mapping[str, Any]
) -> Agreement:
    """Compare stored labels with those of the source images, read for pictures of the samples' sizes.

    Args:
        model (BaseModel): That labelled.
        dataset: ``SyntheticMixDataset``, or the real data set.
        store (SyntheticStore): Of the samples.
        records (Iterable[SampleRecord]): Which to compare; those whose files cannot be read are left out.
        settings (Mapping): Of the creation. Labels that are the sources' own are not compared with these, nor are those
            of pictures into which things of others were pasted, nor unlabelled pictures.

    Returns:
        Agreement: Without figures where there is nothing to compare, such as sources without labels, or kinds of labels
        that :data:`MEANING` does not name.
    """
    found, labels = Agreement(), labels_of_sources(model, dataset, settings.get('labelling'))
    if labels is None:
        return found
    own = _of_model(labels, settings)
    compared = {task: measure for task, measure in _MEASURES.items() if task in own and task in store.tasks}
    if not compared:
        return found
    known = _known
    if 'segmentation' in compared:
        labeller: Any = labels.labeller.labellers['segmentation']
        known = partial(_known, ignored=labeller.ignore_index)
        compared['segmentation'] = partial(_same_class, known=known)
    sums: dict[str, float] = defaultdict(float)
    counts, shares = Counter[str](), Counter[str]()
    confusion = np.zeros((len(store.classes), len(store.classes)), np.int64)
    for record in records:
        if record.unlabelled:
            continue
        entry = source_entry(dataset, record.source)
        both = _labels_of(labels, store, record, entry)
        if both is None:
            continue
        made, truth = both
        found.samples += 1
        for task, measure in compared.items():
            figure = measure(made[task], truth[task], entry)
            if figure is not None:
                sums[task] += figure
                counts[task] += 1
            shares.update(store.codecs[task].shown(truth[task], entry))
        if 'segmentation' in compared:
            both_known = known(made['segmentation'], truth['segmentation'], entry)
            confusion += _confusion(*both_known, classes=len(confusion))
    found.figures = {task: sums[task] / counts[task] for task in compared if counts[task]}
    found.classes = _ious(confusion, store.classes)
    found.shares = {name: total / found.samples for name, total in shares.most_common()}
    return found


def _labels_of(
    labels: BatchLabels, store: SyntheticStore, record: SampleRecord, entry: dict[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """A sample's labels and its source's; None where one is missing or cannot be read, which training names."""
    try:
        image, made = store.read(record)
        truth = labels.labeller.source_labels(image.shape[:2], [entry])[0]
    except Exception as error:  # of whatever reads labels
        _tell_unread(error)
        return None
    return None if truth is None else (made, truth.annotation)


def _tell_unread(error: Exception) -> None:
    why = f'{type(error).__name__}: {first_line(error)}'
    print_log(f'A label is left out of the comparison with its source ({why}).', 'current', logging.WARNING)


def _of_model(labels: BatchLabels, settings: Mapping[str, Any]) -> set[str]:
    """Kinds of labels that the model has made, as a store calls them."""
    label_from = settings.get('label_from', 'fresh')
    if settings.get('compose') is not None or label_from in ('source', 'by_class'):
        return set()
    by_task = label_from if isinstance(label_from, Mapping) else {}
    return {one.task for name, one in labels.labeller.labellers.items() if by_task.get(name, 'fresh') == 'fresh'}


def _known(
    own: np.ndarray, truth: np.ndarray, entry: Mapping[str, Any], ignored: int = 255
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices (pixels,) of two maps of file values where both say one."""
    read = read_as(entry)
    a, b = read[own], read[truth]
    known = ~(np.isin(a, (255, ignored)) | np.isin(b, (255, ignored)))
    return a[known], b[known]


def _same_class(
    own: np.ndarray, truth: np.ndarray, entry: Mapping[str, Any], known: Callable[..., Any] = _known
) -> float | None:
    a, b = known(own, truth, entry)
    return float((a == b).mean()) if a.size else None


def _confusion(own: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by class in the source's label and in the own one, of indices (pixels,), (classes, classes)."""
    a, b = (part.astype(np.int64) for part in (own, truth))
    inside = (a < classes) & (b < classes)
    return np.bincount(b[inside] * classes + a[inside], minlength=classes**2).reshape(classes, classes)


def _ious(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Of the classes that either map shows."""
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return {name: float(both[i] / either[i]) for i, name in enumerate(classes) if either[i]}


def _cosine(own: np.ndarray, truth: np.ndarray, entry: Mapping[str, Any]) -> float | None:
    known = own.any(-1) & truth.any(-1)
    return float((own[known] * truth[known]).sum(-1).mean()) if known.any() else None


def _within_a_quarter(own: np.ndarray, truth: np.ndarray, entry: Mapping[str, Any]) -> float | None:
    known = (own > 0) & (truth > 0)
    ratio = own[known] / truth[known]
    return float((np.maximum(ratio, 1 / ratio) < 1.25).mean()) if known.any() else None


def _found_in_both(own: Any, truth: Any, entry: Mapping[str, Any]) -> float | None:
    """Share of the boxes that the other label has too: class equal, IoU 0.5."""
    from mmdet.structures.bbox import bbox_overlaps

    a, b = (_boxes(one) for one in (own, truth))
    if not len(a) + len(b):
        return None
    same = (bbox_overlaps(a.bboxes, b.bboxes) >= 0.5) & (a.labels[:, None] == b.labels)
    matched = int(same.any(1).sum() + same.any(0).sum()) if len(a) and len(b) else 0
    return matched / (len(a) + len(b))


def _boxes(found: Any) -> InstanceData:
    wanted = ~np.asarray(found.ignored)
    boxes, labels = (torch.from_numpy(np.asarray(part)[wanted]) for part in (found.bboxes, found.labels))
    return InstanceData(bboxes=boxes.float(), labels=labels)


_MEASURES: dict[str, Callable[[Any, Any, Mapping[str, Any]], float | None]] = dict(
    segmentation=_same_class,
    instances=_found_in_both,
    normals=_cosine,
    depth=_within_a_quarter,
    depth_npy=_within_a_quarter,
)
