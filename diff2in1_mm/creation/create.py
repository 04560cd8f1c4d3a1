"""The creation stage: generate images from real ones, label them, store them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel

from ..datasets.source_images import transforms_of
from ..datasets.wrappers import base_datasets
from ..diffusion.contract import DiffusionModel
from ..diffusion.families import config_options, load_diffusion
from ..diffusion.trained import brought_to
from ..store.shares import note_share
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from ..utils.models import backbone_of, evaluating
from ..utils.released_memory import release_memory
from .batch_labels import BatchLabels
from .control import control_of
from .fingerprints import open_store, parameters_digest
from .hardness import hardness_of
from .job import CreationJob, CreationReport
from .plan import make_plan
from .read_back import check_images_read_back, check_read_back
from .settings import CreationSettings

__all__ = ['CreationReport', 'create', 'diffusion_forgotten', 'diffusion_of', 'labels_of']


def create(
    model: BaseModel,
    dataset: Any,
    store: str | SyntheticStore,
    *,
    seed: int = 0,
    round: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    progress: bool = True,
    share: tuple[int, int] | None = None,
    **settings: Any,
) -> CreationReport:
    """Make a round of synthetic samples, or this process's share of it.

    What is in the store already is not made again, so an interrupted creation continues. The first
    samples go onto a contact sheet, ``preview.png`` in the store's folder, and an estimate of time
    and disk is logged, before the long part begins. This does not wait for other processes.

    Args:
        model (BaseModel): A segmentor or detector, without wrapper; its present values label. With a
            ``DiffusionBackbone`` its diffusion model generates; one that the settings name is loaded
            for this call and gone from memory after it.
        dataset: ``SyntheticMixDataset``, of which the real part counts, or the real data set.
        store (str | SyntheticStore): Folder; begun, or continued if it was made for the same.
        seed (int): Of the run. Default 0.
        round (int): Number of the round, from 0. Default 0.
        rank (int | None): Of this process; None asks torch.distributed.
        world_size (int | None): Number of processes; None asks torch.distributed.
        progress (bool): Say how far it is. Default True.
        share (tuple[int, int] | None): Number, from 0, and count of the shares of a job array of which this is one; it
            is noted in the store as begun, see :mod:`diff2in1_mm.store.shares`. Default None.
        **settings: See :class:`CreationSettings`.

    Returns:
        CreationReport: Of this process.

    Raises:
        StoreMismatch: The folder holds something else.
        ValueError: Bad settings, an empty data set, a missing caption or too little disk space,
            each told before the long part.
    """
    start = time.monotonic()
    rank = get_rank() if rank is None else rank
    world_size = get_world_size() if world_size is None else world_size
    chosen = CreationSettings.from_dict(settings)
    with evaluating(model), diffusion_forgotten(chosen):
        report = _make(model, dataset, store, chosen, seed, round, rank, world_size, progress and rank == 0, share)
    report.seconds = time.monotonic() - start
    return report


def _make(
    model: BaseModel,
    dataset: Any,
    store: str | SyntheticStore,
    settings: CreationSettings,
    seed: int,
    round: int,
    rank: int,
    world_size: int,
    progress: bool,
    share: tuple[int, int] | None,
) -> CreationReport:
    generator = settings.build_generator()
    labels = labels_of(model, settings, dataset)
    diffusion = diffusion_of(model, settings)
    if diffusion is getattr(backbone_of(model), 'diffusion', None) and hasattr(backbone_of(model), 'bring_diffusion'):
        backbone_of(model).bring_diffusion()
    generator.check_model(diffusion)
    checkpoint = parameters_digest(model)
    store = open_store(store, dataset, labels, diffusion, settings, seed, round, checkpoint)
    if share is not None:
        note_share(store.root, *share, done=False)
    hardness = hardness_of(settings, labels, dataset, store.root, round)
    plan = make_plan(dataset, generator, settings, seed, round, hardness)
    with brought_to(next(model.parameters()).device, diffusion):
        control = control_of(settings, labels, dataset, diffusion)
        job = CreationJob(
            dataset, store, generator, diffusion, labels, settings, round, checkpoint, progress, control, hardness
        )
        job.run(plan, plan.share(rank, world_size), world_size)
    return job.report


def labels_of(model: BaseModel, settings: CreationSettings, dataset: Any) -> BatchLabels:
    """What labels, checked against the data set."""
    labels = BatchLabels(
        model,
        settings.label_from,
        settings.confidence,
        settings.labelling,
        settings.label_scale,
        transforms_of(dataset),
        settings.consistency,
        settings.unlabelled is not None,
    )
    for base in base_datasets(dataset):
        labels.check_pipeline(transforms_of(base))
    labels.check_classes(dataset.metainfo.get('classes'))
    check_images_read_back(dataset)
    check_read_back(labels, dataset)
    return labels


def diffusion_of(model: BaseModel, settings: CreationSettings, device: str | None = None) -> DiffusionModel:
    """The diffusion model that generates: the backbone's, or the one that the settings name.

    Args:
        model (BaseModel): Without wrapper.
        settings (CreationSettings): Of the creation.
        device (str | None): For one that the settings name; None: the model's.

    Returns:
        DiffusionModel: The backbone's own, or a new one.

    Raises:
        ValueError: There is none, it cannot decode, or it cannot label as the settings ask.
    """
    backbone = backbone_of(model)
    own = getattr(backbone, 'diffusion', None)
    if settings.diffusion is None:
        if not isinstance(own, DiffusionModel):
            raise UserError(
                f'{type(backbone).__name__} has no diffusion model to generate '
                'with: set creation.diffusion to the source of one'
            )
        if not own.can_decode:
            raise UserError(
                f'{own.source!r} was converted from a checkpoint without a decoder: '
                'set creation.diffusion to a complete model'
            )
        return own
    if settings.label_from == 'last_step':
        raise UserError(
            "creation.label_from='last_step' needs the backbone's own diffusion "
            "model: drop creation.diffusion, or set it to 'fresh'"
        )
    options = config_options(settings.diffusion, 'creation.diffusion')
    return load_diffusion(**options).to(device or next(model.parameters()).device)


@contextmanager
def diffusion_forgotten(settings: CreationSettings) -> Iterator[None]:
    """After the block what the settings name is out of memory, that of the device too: diffusion model, control branch.

    Nothing outside the block may hold it. A diffusion model refers to itself (its text encoder asks it for the
    device), so that it would stay until Python happens to look for such circles, beside the training that follows.
    """
    try:
        yield
    finally:
        if settings.diffusion is not None or settings.control is not None:
            release_memory()
