"""What the samples of a store depend on, and opening a store for exactly that."""

import hashlib
import json
import os.path as osp
from collections.abc import Iterable
from glob import escape, glob
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_world_size
from torch import nn

from ..datasets.looks import Looks
from ..diffusion.contract import DiffusionModel
from ..store.purpose import StoreMismatch, read_purpose
from ..store.store import SyntheticStore
from .batch_labels import BatchLabels
from .plan import source_entry, source_indices
from .settings import CreationSettings
from .unlabelled import pictures_of

# What of a noise schedule decides how a sample comes out; weights do not show it.
_SCHEDULE = (
    'prediction_type',
    'num_train_timesteps',
    'beta_schedule',
    'beta_start',
    'beta_end',
    'trained_betas',
    'rescale_betas_zero_snr',
)
# Of flow matching; schedules without them are described as before.
_FLOW_SCHEDULE = ('_class_name', 'shift')
# Named by newer versions only: a store of an older one is continued without them.
_LATER = ('schedule', 'condition_content')


def parameters_digest(model: nn.Module) -> str:
    """Hash of all values in a model's ``state_dict``; that of the first process for all.

    Args:
        model (nn.Module): Without wrapper.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(name.encode())
            # Bytes, as numpy has no bfloat16.
            values = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(values.view(torch.uint8).numpy().tobytes())
    result = [digest.hexdigest()[:16]]
    if get_world_size() > 1:
        broadcast_object_list(result)
    return result[0]


def creation_settings(
    dataset: Any, labels: BatchLabels, diffusion: DiffusionModel, settings: CreationSettings, seed: int, checkpoint: str
) -> dict[str, Any]:
    """Everything that samples depend on, in readable form.

    ``batch_size`` and ``limit`` are left out: they decide the pace and where to stop, not what a
    sample is.

    Args:
        dataset: See :func:`source_indices`.
        labels (BatchLabels): What labels.
        diffusion (DiffusionModel): What generates.
        settings (CreationSettings): Of the creation.
        seed (int): Of the run.
        checkpoint (str): :func:`parameters_digest` of the model.

    Returns:
        dict: JSON types only.
    """
    generator = settings.build_generator()
    if diffusion.few_steps:
        generator.check_model(diffusion)  # which tells it the number of steps
    described = dict(
        T=generator.strengths if generator.by_class is None else generator.by_class.levels,
        steps=[generator.steps_for(T) for T in generator.strengths],
        solver=settings.solver,
        condition=settings.condition or dict(type='Prompt'),
        generator=settings.generator,
        sample_posterior=settings.sample_posterior,
        label_from=settings.label_from,
        confidence=labels.labeller.confidence,
        labelling=settings.labelling or {},
        scale=settings.scale,
        keep_ratio=settings.keep_ratio,
        copies_per_source=settings.copies_per_source,
        seed=seed,
        diffusion=diffusion.digest(),
        images=_images_digest(dataset),
        checkpoint=checkpoint,
        schedule={key: diffusion.schedule.get(key) for key in _SCHEDULE}
        | {key: diffusion.schedule[key] for key in _FLOW_SCHEDULE if 'shift' in diffusion.schedule},
        condition_content=_content_digest(_captions(settings.condition or {})),
    )
    # where they are not set, stores of before these settings still fit
    described.update(settings.guidance)
    for name in ('label_scale', 'compose', 'control', 'filter_above', 'consistency'):
        if getattr(settings, name) is not None:
            described[name] = getattr(settings, name)
    if settings.look is not None:
        described['look'] = _files_digest(Looks(settings.look, 'creation.look').files)
    if settings.unlabelled is not None:
        described['unlabelled'] = _files_digest(pictures_of(settings))
    if settings.sources != 'uniform':
        described['sources'] = settings.sources
    return json.loads(json.dumps(described, default=_plain))


def _plain(value: Any) -> Any:
    """What JSON lacks. Configs of MMEngine's new style hold classes, elsewhere their names stand."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return getattr(value, '__name__', None) or repr(value)


def open_store(
    store: str | SyntheticStore,
    dataset: Any,
    labels: BatchLabels,
    diffusion: DiffusionModel,
    settings: CreationSettings,
    seed: int,
    round: int,
    checkpoint: str,
) -> SyntheticStore:
    """Begin a store, or continue it if it was made for the same.

    Rounds after the first are labelled by other values, which the store's fingerprint, made for the
    first, does not know; samples of a round must agree with each other all the same.

    Raises:
        StoreMismatch: Made for something else; says what differs.
    """
    root = store.root if isinstance(store, SyntheticStore) else store
    wanted = creation_settings(dataset, labels, diffusion, settings, seed, checkpoint)
    if osp.exists(osp.join(root, 'store.json')):
        found = read_purpose(Path(root))['settings']
        if round > 0:
            wanted['checkpoint'] = found.get('checkpoint')
        wanted = {key: value for key, value in wanted.items() if key in found or key not in _LATER}
    text = json.dumps(wanted, sort_keys=True)
    opened = SyntheticStore.prepare(
        root, labels.tasks, dataset.metainfo.get('classes') or (), hashlib.sha256(text.encode()).hexdigest(), wanted
    )
    others = [id for other, id in opened.checkpoints(round).items() if other != checkpoint]
    if others:
        raise StoreMismatch(
            f'{root} already holds samples of round {round} that other parameters '
            f'labelled ({others[0]}): give another folder, or remove this one.'
        )
    return opened


def _captions(condition: Any) -> str | None:
    """File or folder that a condition reads, or the one whose captions it changes."""
    return condition.get('path') or (_captions(condition['of']) if condition.get('of') else None)


def _content_digest(path: str | None) -> str:
    """Hash of the captions or embeddings in a file or folder; '' for a condition without one."""
    if not path or not osp.exists(path):
        return ''
    digest = hashlib.sha256()
    files = [path] if osp.isfile(path) else sorted(glob(osp.join(escape(path), '**', '*.txt'), recursive=True))
    for file in files:
        digest.update(Path(file).read_bytes() + b'\0')
    return digest.hexdigest()[:16]


def _images_digest(dataset: Any) -> str:
    """Hash of the source images' names and sizes on disk; folders may move, images may not change.

    Bytes tell another set under the same names (another world of Rooms) without reading it.
    """
    return _files_digest([source_entry(dataset, index)['img_path'] for index in source_indices(dataset)])


def _files_digest(paths: Iterable[str]) -> str:
    """Hash of files' names and sizes on disk."""
    digest = hashlib.sha256()
    for path in paths:
        size = osp.getsize(path) if osp.isfile(path) else ''  # no local file: the name alone
        digest.update(f'{osp.basename(path)}\0{size}\0'.encode())
    return digest.hexdigest()[:16]
