"""The condition of VPD: one token per class."""

from collections.abc import Sequence

from mmengine.registry import MODELS

from ...utils.errors import NotInstalledError, UserError
from ...utils.metainfo import metainfo_of
from ..condition import Condition
from .clip_texts import TextEmbedder
from .source import Source


@MODELS.register_module()
class ClassNames:
    """One token per class: CLIP's 80 prompt templates, averaged (VPD, Zhao et al. 2023, sec. 3.2).

    Args:
        classes (Sequence[str] | None): Class names.
        dataset (str | None): Instead of ``classes``, a data set of MMSeg or MMDet whose metainfo
            has them, for example 'ADE20KDataset'.
        templates (str): A template set of MMSegmentation, 'imagenet' (80) or 'vild'. Default
            'imagenet'.

    Raises:
        ValueError: Neither or both are given, or the data set has no class names.
    """

    per_image = False

    def __init__(
        self, classes: Sequence[str] | None = None, dataset: str | None = None, templates: str = 'imagenet'
    ) -> None:
        if classes is None and dataset is not None:
            classes = classes_of(dataset)
        elif classes is None or dataset is not None:
            raise UserError("ClassNames takes either `classes` or `dataset` (for example dataset='ADE20KDataset')")
        self.classes = list(classes)
        self.templates = _templates(templates)

    def embed(self, embedder: TextEmbedder, sources: Sequence[Source] = (Source(),)) -> Condition:
        """The condition of images.

        Args:
            embedder (TextEmbedder): Of the diffusion model.
            sources (Sequence[Source]): n images.

        Returns:
            Condition: Sequence (n, number of classes, C), the same for all, float32 on the CPU.
        """
        tokens = embedder.averaged([[template.format(name) for template in self.templates] for name in self.classes])
        return Condition(tokens[None]).expand(len(sources))


def classes_of(dataset: str) -> Sequence[str]:
    """Names of the classes of a registered data set.

    Args:
        dataset (str): Of MMSeg, MMDet or the current scope.

    Raises:
        ValueError: It is unknown or has none.
    """
    return metainfo_of(dataset, 'classes', 'give `classes` instead')


def _templates(name: str) -> list[str]:
    try:
        from mmseg.utils import get_predefined_templates
    except ImportError as error:
        raise NotInstalledError(
            'ClassNames takes its prompt templates from MMSegmentation: `pip install mmsegmentation`'
        ) from error
    return list(get_predefined_templates(name))
