"""What every labeller can do, and what it stores beside a generated image."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ...utils.errors import UserError

__all__ = ['Label', 'Labeller', 'checked_confidence']


class Label(NamedTuple):
    """What is stored beside a generated image.

    Attributes:
        annotation: As the codec of the labeller's task takes it.
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

    Attributes:
        task (str): Name of the codec that stores its labels.
    """

    task: str

    @abstractmethod
    def predict(self, model: nn.Module, inputs: Tensor, data_samples: Sequence) -> list[Any]:
        """Predict whole images in batch coordinates.

        Args:
            model (nn.Module): Without wrapper.
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
    def count_classes(self, model: nn.Module) -> int | None:
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


def checked_confidence(confidence: None | float | Sequence[float], default: float) -> float | tuple[float, ...]:
    """A threshold, or one for each class; the default for None.

    Raises:
        ValueError: Not within [0, 1].
    """
    if confidence is None:
        return default
    several = isinstance(confidence, Sequence) and not isinstance(confidence, str)
    values = tuple(confidence) if several else (confidence,)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise UserError(f'confidence is a probability in [0, 1], not {value!r}.')
    return tuple(map(float, values)) if several else float(confidence)
