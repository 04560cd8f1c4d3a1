"""The creation stage: generate images from real ones, label them, store them."""
import time
from typing import Any, Mapping, Optional, Union

from mmengine.dist import get_rank, get_world_size
from torch import nn

from ..diffusion import LatentDiffusion
from .batch_labels import BatchLabels, evaluating
from .condition_checks import check_condition
from .fingerprints import open_store, parameters_digest
from .job import CreationJob, CreationReport
from .plan import make_plan
from .read_back import check_read_back
from .settings import CreationSettings
from .sources import transforms_of
from .store import SyntheticStore

__all__ = ['CreationReport', 'check_creation', 'create']


def create(model: nn.Module, dataset: Any, store: Union[str, SyntheticStore], *, seed: int = 0,
           round: int = 0, rank: Optional[int] = None, world_size: Optional[int] = None,
           progress: bool = True, **settings: Any) -> CreationReport:
    """Make a round of synthetic samples, or this process's share of it.

    What is in the store already is not made again, so an interrupted creation continues. The first
    samples go onto a contact sheet, ``preview.png`` in the store's folder, and an estimate of time
    and disk is logged, before the long part begins. This does not wait for other processes.

    Args:
        model (nn.Module): A segmentor or detector, without wrapper; its present values label. With a
            ``DiffusionBackbone`` its diffusion model generates.
        dataset: ``SyntheticMixDataset``, of which the real part counts, or the real data set.
        store (str | SyntheticStore): Folder; begun, or continued if it was made for the same.
        seed (int): Of the run. Default 0.
        round (int): Number of the round, from 0. Default 0.
        rank (int | None): Of this process; None asks torch.distributed.
        world_size (int | None): Number of processes; None asks torch.distributed.
        progress (bool): Say how far it is. Default True.
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
    settings = CreationSettings.from_dict(settings)
    generator = settings.build_generator()
    with evaluating(model):
        labels = _labels_of(model, settings, dataset)
        diffusion = diffusion_of(model, settings)
        generator.check_model(diffusion)
        plan = make_plan(dataset, generator, settings, seed, round)
        checkpoint = parameters_digest(model)
        store = open_store(store, dataset, labels, diffusion, settings, seed, round, checkpoint)
        job = CreationJob(dataset, store, generator, diffusion, labels, settings, round, checkpoint,
                          progress=progress and rank == 0)
        job.run(plan, plan.share(rank, world_size), world_size)
    job.report.seconds = time.monotonic() - start
    return job.report


def _labels_of(model: nn.Module, settings: CreationSettings, dataset: Any) -> BatchLabels:
    """What labels, checked against the data set."""
    labels = BatchLabels(model, settings.label_from, settings.confidence, settings.labelling,
                         settings.label_scale, transforms_of(dataset))
    labels.check_classes(dataset.metainfo.get('classes'))
    check_read_back(labels, dataset)
    return labels


def diffusion_of(model: nn.Module, settings: CreationSettings,
                 device: Optional[str] = None) -> LatentDiffusion:
    """The diffusion model that generates: the backbone's, or the one that the settings name.

    Args:
        model (nn.Module): Without wrapper.
        settings (CreationSettings): Of the creation.
        device (str | None): For one that the settings name; None: the model's.

    Returns:
        LatentDiffusion: The backbone's own, or a new one.

    Raises:
        ValueError: There is none, it cannot decode, or it cannot label as the settings ask.
    """
    own = getattr(model.backbone, 'diffusion', None)
    if settings.diffusion is None:
        if not isinstance(own, LatentDiffusion):
            raise ValueError(f'{type(model.backbone).__name__} has no diffusion model to generate '
                             'with: set creation.diffusion to the source of one')
        if not own.can_decode:
            raise ValueError(f'{own.source!r} was converted from a checkpoint without a decoder: '
                             'set creation.diffusion to a complete model')
        return own
    if settings.label_from == 'last_step':
        raise ValueError("creation.label_from='last_step' needs the backbone's own diffusion "
                         "model: drop creation.diffusion, or set it to 'fresh'")
    options = settings.diffusion
    options = dict(source=options) if isinstance(options, str) else dict(options)
    return LatentDiffusion.from_pretrained(**options).to(device or next(model.parameters()).device)


def check_creation(model: nn.Module, settings: Mapping[str, Any], dataset: Any,
                   store: Optional[str] = None, seed: int = 0) -> CreationSettings:
    """Tell before a long warm-up what would stop :func:`create` after it.

    Args:
        model (nn.Module): Without wrapper.
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
    generator = checked.build_generator()
    labels = _labels_of(model, checked, dataset)
    # on the CPU: another model than the backbone's is only looked at here
    diffusion = diffusion_of(model, checked, 'cpu')
    generator.check_model(diffusion)
    check_condition(generator.condition, diffusion, dataset, checked.limit)
    if store is not None:
        checkpoint = SyntheticStore(store, warn=False).settings.get('checkpoint')
        open_store(store, dataset, labels, diffusion, checked, seed, 0, checkpoint)
    return checked
