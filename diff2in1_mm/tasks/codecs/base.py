"""What the store asks of the annotation files of a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...utils.errors import UserError

__all__ = ['AnnotationCodec', 'Named']


class Named(Protocol):
    """What a codec asks of a sample's record: its file name without suffix, and a number of its own."""

    id: str

    @property
    def number(self) -> int: ...


class AnnotationCodec(ABC):
    """Annotations of one task as files, which the task's own tools read.

    Args:
        classes (Sequence[str]): Class names in training order.

    Attributes:
        suffix (str): Ending of the file that :meth:`decode` and :meth:`point_at` are given.
    """

    suffix: str

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)

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

    def merge(self, paths: Sequence[Path]) -> dict[str, Any]:
        """One JSON content for all samples of a round; empty where tools want separate files."""
        return {}

    @staticmethod
    def check_shape(array: np.ndarray, image_shape: tuple[int, int]) -> None:
        """Raises ValueError unless ``array`` has an entry (or a row of them) for each pixel."""
        if array.shape[:2] != tuple(image_shape) or array.ndim > 3:
            raise UserError(
                f'the annotation has shape {array.shape} but its image {tuple(image_shape)}: give one label per pixel.'
            )
