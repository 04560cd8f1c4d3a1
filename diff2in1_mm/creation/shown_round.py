"""What a created round holds, for whatever MMEngine's visualizer writes to: files, TensorBoard, WandB."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.model import BaseModel
from PIL import Image

from ..store.listing import made_of
from ..store.store import SyntheticStore
from ..store.upkeep import class_shares
from ..utils.errors import first_line
from ..utils.values import spread_over
from ..visualization.class_table import class_table
from .agreement import MEANING, Agreement, agreement_with_sources

__all__ = ['show_round']

_COMPARED = 200  # samples whose labels are read


def show_round(
    runner: Any, model: BaseModel, dataset: Any, store: SyntheticStore, round: int, settings: Mapping[str, Any]
) -> None:
    """Hand the visualizer the sample sheet, a table of the classes, and how far labels agree with the sources' own.

    Scalars are ``synthetic/CLASS`` (its share), ``agreement/KIND`` and ``agreement/KIND/CLASS``, images ``synthetic``
    and ``synthetic_classes``.

    Args:
        runner: Of the training run.
        model (BaseModel): Without wrapper.
        dataset: ``SyntheticMixDataset``.
        store (SyntheticStore): Of the samples.
        round (int): Which of its rounds.
        settings (Mapping): Of the creation.

    What cannot be shown, by a backend without a network, say, is told in the log: no picture is worth a run.
    """
    try:
        _show(runner, model, dataset, store, round, settings)
    except Exception as error:
        why = f'{type(error).__name__}: {first_line(error)}'
        runner.logger.warning(f'What round {round} holds is not shown ({why}).')


def _show(
    runner: Any, model: BaseModel, dataset: Any, store: SyntheticStore, round: int, settings: Mapping[str, Any]
) -> None:
    records = made_of(store.accepted(round))
    shares = class_shares(records)
    some = [records[i] for i in spread_over(len(records), _COMPARED)]
    found = agreement_with_sources(model, dataset, store, some, settings)
    scalars = {f'synthetic/{name}': share for name, share in shares.items()} | _scalars(found)
    if scalars:
        runner.visualizer.add_scalars(scalars, step=runner.iter)
    if shares:
        unit = 'objects in an image' if 'instances' in store.tasks else '% of the pixels'
        picture = class_table(shares, found.shares, found.classes, unit)
        runner.visualizer.add_image('synthetic_classes', picture, step=runner.iter)
    if (store.root / 'preview.png').exists():
        with Image.open(store.root / 'preview.png') as preview:
            runner.visualizer.add_image('synthetic', np.asarray(preview), step=runner.iter)
    for task, figure in found.figures.items():
        runner.logger.info(
            f'Labels of {found.samples} samples ({task}) agree with those of their source images: {MEANING[task]} '
            f'{figure:.3f}.'
        )


def _scalars(found: Agreement) -> dict[str, float]:
    figures = {f'agreement/{task}': figure for task, figure in found.figures.items()}
    return figures | {f'agreement/segmentation/{name}': iou for name, iou in found.classes.items()}
