"""What a class-conditional model is told: one class per image."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS

from ...utils.errors import UserError
from ..condition import Condition
from .class_names import classes_of
from .source import Source


@MODELS.register_module()
class ClassLabel:
    """The number of a class, as a class-conditional diffusion model was trained with: a fixed one, or the rarest shown.

    Args:
        label (int | None): The same for every image, as the backbone needs it.
        classes (Sequence[str] | None): Instead, names of classes in the order of the model's numbers: an image gets
            that of the class of which its label shows least.
        dataset (str | None): Instead of ``classes``, a data set of MMSeg or MMDet whose metainfo has them.

    Raises:
        ValueError: None of them or several are given, or an image shows no such class.
    """

    wants_classes = True

    def __init__(
        self, label: int | None = None, classes: Sequence[str] | None = None, dataset: str | None = None
    ) -> None:
        if sum(given is not None for given in (label, classes, dataset)) != 1:
            raise UserError('ClassLabel takes one of `label` (a number), `classes` (names) or `dataset`')
        self.label, self.per_image = label, label is None
        self.classes = list(classes_of(dataset) if dataset else classes or ())

    def embed(self, embedder: Any = None, sources: Sequence[Source] = (Source(),)) -> Condition:
        """The condition of images.

        Args:
            embedder: Not used.
            sources (Sequence[Source]): n images.

        Returns:
            Condition: Without tokens; ``class_label`` in its extras, int64 (n,), on the CPU.
        """
        labels = torch.tensor([self._number(source) for source in sources])
        return Condition(torch.zeros(len(sources), 0, 0), extras=dict(class_label=labels))

    def _number(self, source: Source) -> int:
        if self.label is not None:
            return self.label
        rarest = next((name for name in reversed(source.classes) if name in self.classes), None)
        if rarest is None:
            raise UserError(
                f'the label of {source.stem!r} shows {list(source.classes)}, none of the classes of the diffusion '
                f'model {self.classes[:5]}...: set `label` to one number for all images'
            )
        return self.classes.index(rarest)
