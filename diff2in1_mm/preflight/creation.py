"""What would stop a creation, told before the warm-up."""

import os.path as osp
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel

from ..creation.class_levels import level_painter
from ..creation.composing import composer_of
from ..creation.control import control_of
from ..creation.create import diffusion_forgotten, diffusion_of, labels_of
from ..creation.fingerprints import open_store
from ..creation.hardness import check_hardness
from ..creation.label_filter import check_filter
from ..creation.plan import source_indices
from ..creation.settings import CreationSettings
from ..creation.stage import mixed_dataset
from ..creation.unlabelled import pictures_of, places_of
from ..datasets.looks import Looks
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from ..utils.models import seed_of_run
from .conditions import check_condition


def check_creation_stage(runner, model: BaseModel, settings: Mapping, resumed: bool) -> None:
    """Tells before a long warm-up what would stop the creation after it.

    Args:
        runner: Of the training run.
        model (BaseModel): Without wrapper.
        settings (Mapping): The hook's ``creation`` settings.
        resumed (bool): Whether a checkpoint of this run was restored, whose store is its own.

    Raises:
        StoreMismatch: The store holds samples made for something else.
        TypeError, ValueError: One sentence that says what is wrong and the mend.
    """
    dataset = mixed_dataset(runner)
    if dataset.serving is not None and not resumed:
        raise UserError(
            'the training data set serves a store from the start, but SelfImprovingHook creates '
            'one: leave `round` of SyntheticMixDataset out, or set creation=None.'
        )
    held = 0
    if not resumed and osp.exists(osp.join(dataset.store_root, 'store.json')):
        held = len(SyntheticStore(dataset.store_root, warn=False))
    check_creation(model, settings, dataset, dataset.store_root if held else None, seed_of_run(runner))
    if held:
        # the same run made again fits it, any other must not be mixed in
        runner.logger.warning(
            f'{dataset.store_root} holds {held} synthetic samples already: unless this run would make the same ones it '
            'will stop after the warm-up, so remove that folder, or continue the former run with --resume.'
        )


def check_creation(
    model: BaseModel, settings: Mapping[str, Any], dataset: Any, store: str | None = None, seed: int = 0
) -> CreationSettings:
    """Tell before a long warm-up what would stop :func:`create` after it.

    Args:
        model (BaseModel): Without wrapper.
        settings (Mapping): As a config has them, see :class:`CreationSettings`.
        dataset: As :func:`create` will get it.
        store (str | None): Folder of a store that is to be continued; its samples may have been
            labelled by any values of the model, everything else must fit. Default None.
        seed (int): Of the run. Default 0.

    Returns:
        CreationSettings: Checked.

    Raises:
        StoreMismatch: The store was made for something else.
        TypeError, ValueError: One sentence that says what is wrong and the mend.
    """
    checked = CreationSettings.from_dict(settings)
    with diffusion_forgotten(checked):
        _check(model, checked, dataset, store, seed)
    return checked


def _check(model: BaseModel, settings: CreationSettings, dataset: Any, store: str | None, seed: int) -> None:
    generator = settings.build_generator()
    labels = labels_of(model, settings, dataset)
    # on the CPU: another model than the backbone's is only looked at here
    diffusion = diffusion_of(model, settings, 'cpu')
    generator.check_model(diffusion)
    level_painter(generator, labels, dataset)
    check_filter(settings, labels)
    check_hardness(settings, labels)
    composer_of(settings, labels.tasks, dataset)
    if settings.look is not None:
        Looks(settings.look, 'creation.look').check()
    pictures = pictures_of(settings)[: settings.limit]
    sources = source_indices(dataset)[: settings.limit] if pictures else []
    places_of(len(pictures), dict.fromkeys(sources, settings.copies_per_source))
    control_of(settings, labels, dataset, diffusion)
    if settings.copies_per_source:
        check_condition(generator.condition, diffusion, dataset, settings.limit)
    if store is not None:
        checkpoint = SyntheticStore(store, warn=False).settings.get('checkpoint') or ''
        open_store(store, dataset, labels, diffusion, settings, seed, 0, checkpoint)
