"""What every kind of label is: its files, how it is drawn, and how a model labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from mmengine.model import BaseModel
from torch import Tensor

from ..utils.errors import UserError
from ..utils.values import is_number

__all__ = [
    'Label',
    'Labeller',
    'Named',
    'Task',
    'assign_model_labels',
    'check_confidence',
    'checked_confidence',
    'one_confidence',
    'share_of_pixels',
]


class Named(Protocol):
    """What a task asks of a sample's record: its file name without suffix, its image's in the store, and a number."""

    id: str
    image: str

    @property
    def number(self) -> int: ...


class Task(ABC):
    """A kind of label: its files, which the task's own tools read, its picture, and who makes it.

    A new kind is one class with :func:`register_task` above it.

    Args:
        classes (Sequence[str]): Class names in training order.

    Attributes:
        name (str): As in a model's ``label_tasks``, and in a store.
        labeller (type[Labeller]): Makes such labels with a model.
        suffix (str): Ending of the file that :meth:`decode` and :meth:`point_at` are given.
    """

    name: str
    labeller: type['Labeller']
    suffix: str

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """Whether a model without ``label_tasks`` learns from such labels.

        Raises:
            TypeError: It would, but for something that has to be changed first.
        """
        return False

    @abstractmethod
    def encode(self, annotation: Any, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Ending -> content of each file of a sample.

        Raises:
            ValueError: The annotation does not fit its image of shape (H, W).
        """

    @abstractmethod
    def decode(self, path: Path) -> Any:
        """The annotation as it was given to :meth:`encode`.

        Raises:
            ValueError: The file is damaged.
        """

    @abstractmethod
    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """Make a data set's annotation entry load the file, in place."""

    @abstractmethod
    def draw(
        self, image: np.ndarray, annotation: Any, colours: np.ndarray, entry: Mapping[str, Any], opacity: float = 0.6
    ) -> np.ndarray:
        """Lay an annotation over its image, or draw it in its place.

        Args:
            image: uint8 (H, W, 3), RGB; not changed.
            annotation: As :meth:`decode` gives it.
            colours: Of the classes, uint8 (classes, 3), RGB.
            entry: Annotation entry of the source image: how label values are read.
            opacity: Of the colours, in [0, 1].

        Returns:
            uint8 (H, W, 3), RGB.
        """

    def shown(self, annotation: Any, entry: Mapping[str, Any]) -> dict[str, float]:
        """What classes an annotation shows: name -> share of the image's pixels, of boxes the number of objects.

        Empty where a kind of label knows no classes.

        Args:
            annotation: As :meth:`decode` gives it.
            entry: As in :meth:`draw`.
        """
        return {}

    @staticmethod
    def ignore_classes(data_sample: Any, classes: Sequence[int], ignore_index: int = 255) -> None:
        """Take what a target says of these classes out of the loss, in place; no change where it knows no classes.

        Args:
            data_sample: Of the training pipeline, or with the target that ``theta_C`` gave it.
            classes (Sequence[int]): Their indices.
            ignore_index (int): What stands for ignored pixels. Default 255.
        """

    def merge(self, paths: Iterable[Path]) -> dict[str, Iterable[bytes]]:
        """File name -> its content, in parts, for all samples of a round; empty where tools want separate files.

        Args:
            paths: What :meth:`decode` is given, of each sample; read as the content is.
        """
        return {}

    @staticmethod
    def check_shape(array: np.ndarray, image_shape: tuple[int, int]) -> None:
        """Raises ValueError unless ``array`` has an entry (or a row of them) for each pixel."""
        if array.shape[:2] != tuple(image_shape) or array.ndim > 3:
            raise UserError(
                f'the annotation has shape {array.shape} but its image {tuple(image_shape)}: give one label per pixel.'
            )


def share_of_pixels(labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Name of each class in a map of class indices (H, W) -> its share of the pixels."""
    counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)] / max(labels.size, 1)
    return {name: round(float(count), 6) for name, count in zip(classes, counts) if count}


class Label(NamedTuple):
    """What is stored beside a generated image.

    Attributes:
        annotation: As :meth:`Task.encode` of the labeller's task takes it.
        quality: ``ignored`` (share), and what the task adds: the mean ``confidence`` where it
            predicts probabilities.
    """

    annotation: Any
    quality: dict[str, float]


class Labeller(ABC):
    """Makes a model's own prediction the target of a synthetic sample.

    A labeller predicts in the coordinates of the *batch* (after the data preprocessor, whole image,
    no un-flip, no resize to the original shape), so that its result can be a training target as it
    is. It works on samples of its own: those of the batch only change in :meth:`assign`.

    The caller decides which parameters (``ThetaC.applied``) and which features
    (``backbone.serve``) the model computes with, and whether it is in eval mode.

    A labeller may do more, which is asked for with ``hasattr``: ``source_labels`` (a source image's
    own labels; ``read_sources`` is told the data set's transforms before), ``source_levels`` (a number for each
    pixel of a source image by what its label shows there), ``resized`` (predictions in the pixels of another size)
    and ``check_loader`` (whether the data set's transforms read such labels).

    Args:
        model (BaseModel): Without wrapper.
        confidence (float | Sequence[float] | None): Threshold of what is sure; None takes the task's default.
        **options: Of the task, ``labelling`` in a config.

    Attributes:
        task (str): Name of the :class:`Task` that stores its labels.
        confidence (float | tuple[float, ...] | None): The threshold; None where there is no probability.
    """

    task: str
    confidence: float | tuple[float, ...] | None
    source_labels: Callable[[tuple[int, int], Sequence[Mapping[str, Any]]], list['Label | None']]
    source_levels: Callable[[Mapping[str, Any], tuple[int, int], np.ndarray, int], np.ndarray]
    read_sources: Callable[[Sequence[Any]], None]
    resized: Callable[[Sequence[Any], tuple[int, int], tuple[int, int]], list[Any]]
    check_loader: Callable[[Sequence[Any]], None]

    @abstractmethod
    def __init__(self, model: BaseModel, confidence: None | float | Sequence[float] = None, **options: Any) -> None: ...

    @abstractmethod
    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[Any]:
        """Predict whole images in batch coordinates.

        Args:
            model (BaseModel): Without wrapper.
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence): Their samples; not changed.

        Returns:
            list: One prediction for each image, as the labeller's other methods take it.
        """

    @abstractmethod
    def assign(self, data_samples: Sequence, predictions: Sequence) -> dict[str, Tensor]:
        """Write predictions into the targets of ``data_samples``, in place.

        Returns:
            dict[str, Tensor]: ``ignored`` (0-dim), the share of what was not sure enough.
        """

    @abstractmethod
    def ignored(self, data_samples: Sequence) -> Tensor:
        """Share of the present targets that are marked to be ignored (0-dim)."""

    @abstractmethod
    def agreement(self, predictions_a: Sequence, predictions_b: Sequence) -> Tensor:
        """How far two lists of predictions for the same images agree, in [0, 1] (0-dim)."""

    @abstractmethod
    def count_classes(self, model: BaseModel) -> int | None:
        """Number of classes that the model predicts; None where it predicts none or does not say."""

    @abstractmethod
    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        """Samples without annotation for images of one size (height, width)."""

    @abstractmethod
    def labels(
        self, predictions: Sequence, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        """What to store for generated images.

        Args:
            predictions (Sequence): Of :meth:`predict`.
            size (tuple[int, int]): Height and width of the images, without the batch's padding.
            entries (Sequence[Mapping]): Annotation entries of the source images.

        Returns:
            list[Label | None]: One per image; None where the sample shall not be stored.
        """


def assign_model_labels(labeller: Labeller, data_samples: Sequence, predictions: Sequence) -> dict[str, Tensor]:
    """:meth:`Labeller.assign`, but for samples whose label of this kind a person has corrected.

    Args:
        labeller (Labeller): Of one kind of label, or joint.
        data_samples (Sequence): With ``by_hand`` (kinds of labels) in their metainfo where there are such.
        predictions (Sequence): One for each.
    """
    free = [i for i, sample in enumerate(data_samples) if labeller.task not in sample.metainfo.get('by_hand', ())]
    if not free:
        return dict(ignored=labeller.ignored(data_samples))
    return labeller.assign([data_samples[i] for i in free], [predictions[i] for i in free])


def check_confidence(confidence: Any) -> None:
    """Raises ValueError unless this is a threshold, one for each class, or a mapping from task to either."""
    for own in confidence.values() if isinstance(confidence, Mapping) else [confidence]:
        checked_confidence(own, 0.0)


def checked_confidence(confidence: None | float | Sequence[float], default: float) -> float | tuple[float, ...]:
    """A threshold, or one for each class; the default for None.

    Raises:
        ValueError: Not within [0, 1].
    """
    if confidence is None:
        return default
    if isinstance(confidence, Sequence) and not isinstance(confidence, str):
        return tuple(map(_probability, confidence))
    return _probability(confidence)


def _probability(value: Any) -> float:
    if not is_number(value, 0, 1):
        raise UserError(f'confidence is a probability in [0, 1], not {value!r}.')
    return float(value)


def one_confidence(confidence: None | float | Sequence[float], default: float, task: str) -> float:
    """:func:`checked_confidence` of a task that has one threshold for all classes.

    Raises:
        ValueError: There are several.
    """
    checked = checked_confidence(confidence, default)
    if isinstance(checked, tuple):
        raise UserError(f'confidence is one number for {task}, not one for each class.')
    return checked
