"""Several kinds of labels of one model."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from .base import Label, Labeller, assign_model_labels
from .consistency import consistency

__all__ = ['JointLabeller', 'model_of']


def model_of(model: BaseModel, task: str) -> BaseModel:
    """What predicts one kind of label: ``model.of_task(task)`` where the model has several, else the model."""
    return model.of_task(task) if hasattr(model, 'of_task') else model


class JointLabeller(Labeller):
    """Labels for all tasks of a model with several; a prediction is a dict of the tasks' own.

    The model's ``of_task(name)`` gives what a task's own labeller takes for its model. Within
    ``features_shared()``, a context manager of the model if it has one, it may keep what its tasks
    share.

    Args:
        labellers (Mapping[str, Labeller]): Kind of label, as in the model's ``label_tasks``, -> its labeller.

    Attributes:
        tasks (tuple[str, ...]): Names of the tasks that store the labels.
        confidence: The threshold of the only task, or those of several by task.
    """

    def __init__(self, labellers: Mapping[str, Labeller]) -> None:
        self.labellers = dict(labellers)
        # what a model calls 'depth' a store may call 'depth_npy'
        self.tasks = tuple(labeller.task for labeller in self.labellers.values())
        self.task = '+'.join(self.tasks)
        thresholds = {task: labeller.confidence for task, labeller in self.labellers.items()}
        #: Tasks whose stored labels are the source images' own.
        self.from_sources: frozenset[str] = frozenset()
        #: Focal length of the camera, for comparing depth with normals, as a share of the longer side.
        self.focal = 1.0
        self.confidence: Any = thresholds if len(thresholds) > 1 else next(iter(thresholds.values()))

    @classmethod
    def of(cls, labeller: Labeller) -> 'JointLabeller':
        """A labeller, perhaps of one task, as one whose predictions and labels are dicts by task."""
        return labeller if isinstance(labeller, cls) else cls({labeller.task: labeller})

    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[dict[str, Any]]:
        with model.features_shared() if hasattr(model, 'features_shared') else nullcontext():
            found = {
                task: labeller.predict(model_of(model, task), inputs, data_samples)
                for task, labeller in self.labellers.items()
            }
        return [dict(zip(found, predictions)) for predictions in zip(*found.values())]

    def assign(self, data_samples: Sequence, predictions: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Write all tasks' targets; ``ignored`` is the mean of theirs, ``ignored_TASK`` each one's."""
        shares = {
            task: assign_model_labels(labeller, data_samples, [p[task] for p in predictions])['ignored']
            for task, labeller in self.labellers.items()
        }
        return dict(
            ignored=torch.stack(list(shares.values())).mean(),
            **{f'ignored_{task}': share for task, share in shares.items()},
        )

    def ignored(self, data_samples: Sequence) -> Tensor:
        return torch.stack([labeller.ignored(data_samples) for labeller in self.labellers.values()]).mean()

    def agreement(self, predictions_a: Sequence[dict[str, Any]], predictions_b: Sequence[dict[str, Any]]) -> Tensor:
        """Mean of the tasks' agreements (0-dim)."""
        return torch.stack(
            [
                labeller.agreement([p[task] for p in predictions_a], [p[task] for p in predictions_b])
                for task, labeller in self.labellers.items()
            ]
        ).mean()

    def count_classes(self, model: BaseModel) -> int | None:
        """Of the first task that predicts classes; None where none does."""
        counts = [labeller.count_classes(model_of(model, task)) for task, labeller in self.labellers.items()]
        return next((count for count in counts if count is not None), None)

    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        return next(iter(self.labellers.values())).new_samples(count, size)

    def own_labels(
        self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]], tasks: Collection[str]
    ) -> list[dict[str, Label | None]]:
        """The source images' own labels of some tasks, a dict by task for each image of ``size`` (height, width)."""
        found = {task: self.labellers[task].source_labels(size, entries) for task in tasks}
        return [{task: labels[i] for task, labels in found.items()} for i in range(len(entries))]

    def labels(
        self,
        predictions: Sequence[dict[str, Any]],
        size: tuple[int, int],
        entries: Sequence[Mapping[str, Any]],
        own: Sequence[Mapping[str, Label | None]] | None = None,
    ) -> list[Label | None]:
        """One label an image: ``annotation`` is a dict by task; ``quality`` has the figures of a single
        task as they are, those of several as ``TASK.figure`` beside the mean of their ``ignored`` and how far they
        agree (:func:`~diff2in1_mm.tasks.consistency.consistency`). None where the label of one task shall not be
        stored. Tasks in ``from_sources`` take the source images' own labels (``own``, where these were read before)."""
        if own is None:
            own = self.own_labels(size, entries, self.from_sources)
        return self._joined(
            [
                [labels[task] for labels in own]
                if task in self.from_sources
                else labeller.labels([p[task] for p in predictions], size, entries)
                for task, labeller in self.labellers.items()
            ]
        )

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """The source images' own labels of all tasks, as :meth:`labels` gives them."""
        return self.together(self.own_labels(size, entries, self.labellers))

    def together(self, own: Sequence[Mapping[str, Label | None]]) -> list[Label | None]:
        """Labels of :meth:`own_labels` of all tasks, as :meth:`labels` gives them."""
        return self._joined([[labels[task] for labels in own] for task in self.labellers])

    def resized(
        self, predictions: Sequence[dict[str, Any]], size: tuple[int, int], to: tuple[int, int]
    ) -> list[dict[str, Any]]:
        """Predictions for images of another size (height, width)."""
        found = {
            task: labeller.resized([p[task] for p in predictions], size, to)
            for task, labeller in self.labellers.items()
        }
        return [dict(zip(found, own)) for own in zip(*found.values())]

    def _joined(self, labels: Sequence[Sequence[Label | None]]) -> list[Label | None]:
        return [self._together(dict(zip(self.tasks, own))) for own in zip(*labels)]

    def _together(self, labels: dict[str, Any]) -> Label | None:
        if None in labels.values():
            return None
        label = _together(labels)
        return label._replace(quality=dict(label.quality, **consistency(label.annotation, self.focal)))


def _together(labels: dict[str, Label]) -> Label:
    annotation = {task: label.annotation for task, label in labels.items()}
    if len(labels) == 1:
        return Label(annotation, *(label.quality for label in labels.values()))
    quality = {f'{task}.{name}': value for task, label in labels.items() for name, value in label.quality.items()}
    ignored = sum(label.quality['ignored'] for label in labels.values()) / len(labels)
    return Label(annotation, dict(quality, ignored=ignored))
