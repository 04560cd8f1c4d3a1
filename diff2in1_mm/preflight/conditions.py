"""Whether a condition serves a data set and a diffusion model, told before long work."""

from typing import Any

from ..creation.describe import SourceDescriber
from ..creation.plan import source_entry, source_indices
from ..diffusion.conditions.prompts import TextCondition
from ..diffusion.contract import DiffusionModel
from ..utils.values import spread_over

_AT_ONCE = 512
_LABELS_READ = 8


def check_condition(condition: Any, diffusion: DiffusionModel, dataset: Any, limit: int | None = None) -> None:
    """Ask for what a creation will ask for: every caption, the length of each, their channels.

    Captions are counted in tokens, not encoded. Where they come from labels, of which reading all
    takes long, some are looked at.

    Args:
        condition: Of the generator.
        diffusion (DiffusionModel): What generates.
        dataset: The real data set, or one that wraps it.
        limit (int | None): Only the first so many images count. Default None.

    Raises:
        ValueError: A missing or too long caption, or embeddings of another text encoder; one
            sentence with the mend.
    """
    if not condition.per_image:
        diffusion.check_condition(condition.embed(diffusion.text))
        return
    describe, indices = SourceDescriber(dataset, condition), source_indices(dataset)[:limit]
    if describe.wants_classes:
        indices = [indices[i] for i in spread_over(len(indices), _LABELS_READ)]
    with diffusion.text.kept():
        for start in range(0, len(indices), _AT_ONCE):
            sources = [describe(source_entry(dataset, index), index) for index in indices[start : start + _AT_ONCE]]
            if isinstance(condition, TextCondition):
                diffusion.text.check_lengths([text for source in sources for text in condition.texts(source)])
                sources = sources[:1] if start == 0 else []
            if sources:
                diffusion.check_condition(condition.embed(diffusion.text, sources))
