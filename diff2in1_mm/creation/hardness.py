"""How hard source images are for the model that labels: its mean loss on their own label maps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log

from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError
from ..utils.json_files import read_json
from ..utils.values import is_number
from .batch_labels import BatchLabels
from .label_filter import source_losses
from .plan import source_indices
from .settings import CreationSettings

__all__ = ['check_hardness', 'hardness_of']


def check_hardness(settings: CreationSettings, labels: BatchLabels) -> None:
    """Whether ``creation.sources='by_hardness'`` can be done.

    Raises:
        ValueError: The model learns something else than label maps.
    """
    if settings.sources == 'by_hardness' and labels.tasks != ('segmentation',):
        raise UserError(
            "creation.sources='by_hardness' asks for the model's loss on label maps, and "
            f"{type(labels.model).__name__} learns {labels.labeller.task}: set it to 'uniform'"
        )


def hardness_of(
    settings: CreationSettings, labels: BatchLabels, dataset: Any, root: str | Path, round: int
) -> dict[int, float] | None:
    """Mean loss of the model on each source image that can be read; None where nobody asks for it.

    What was measured stands in ``hardness.json`` of the store, so that a continued creation plans the same.

    Args:
        settings (CreationSettings): ``sources`` and ``limit``.
        labels (BatchLabels): Whose model judges.
        dataset: See :func:`source_indices`.
        root (str | Path): Folder of the store.
        round (int): Of creation, from 0.

    Returns:
        dict[int, float] | None: Index of a source image -> cross entropy, mean over its labelled pixels.

    Raises:
        ValueError: See :func:`check_hardness`.
        OSError: ``hardness.json`` is damaged.
    """
    if settings.sources != 'by_hardness':
        return None
    check_hardness(settings, labels)
    path = Path(root) / 'hardness.json'
    known = read_json(path, _is_known, 'remove it, and hardness is measured anew') if path.exists() else {}
    found = {int(index): loss for index, loss in known.get(str(round), {}).items()}
    missing = [index for index in source_indices(dataset)[: settings.limit] if index not in found]
    rank, world_size = get_dist_info()
    for part in all_gather_object(_measured(labels, dataset, settings, missing[rank::world_size])):
        found.update(part)
    if missing and rank == 0:
        write_atomic(path, json.dumps({**known, str(round): found}).encode())
    return found


def _is_known(content: Any) -> bool:
    """Whether it is a number for each index of each round."""
    return all(
        round.isdecimal() and all(index.isdecimal() and is_number(loss, 0) for index, loss in found.items())
        for round, found in content.items()
    )


def _measured(
    labels: BatchLabels, dataset: Any, settings: CreationSettings, indices: Sequence[int]
) -> dict[int, float]:
    if not indices:
        return {}
    print_log(f"Measuring the model's loss on {len(indices)} source images", 'current')
    classes = labels.labeller.count_classes(labels.model) or 0
    found = {}
    for index, losses, targets in source_losses(labels, dataset, settings, indices):
        known = targets < classes
        found[index] = float(losses[known].mean()) if known.any() else 0.0
    return found
