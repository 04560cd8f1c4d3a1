"""What ``tools/train_diffusion.py`` looks at before any work: keys, crops, what is there."""

import hashlib
import inspect
import json
import logging
import os
import os.path as osp
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ..diffusion.families import family_of
from ..diffusion.loading.refusals import refuse_other_kinds
from ..utils.atomic_files import write_atomic
from ..utils.errors import FileInTheWayError, UserError, did_you_mean
from ..utils.json_files import read_json
from .denoiser_tuner import DenoiserTuner

__all__ = [
    'check_crops',
    'check_fresh',
    'check_keys',
    'check_length',
    'check_options',
    'check_pretrained',
    'files_of',
    'forget_unfinished',
    'mark_finished',
    'says_finished',
    'stamps',
    'tuner_of',
    'warn_if_nothing_to_resume',
]

#: What a config need not say.
DEFAULTS = dict(data_root='', truncate_captions=False, mirror=False, keep_latents=True, encode_batch_size=8)
#: What both runners take from the top level of the config.
SHARED = (
    'default_scope',
    'env_cfg',
    'log_processor',
    'log_level',
    'launcher',
    'randomness',
    'default_hooks',
    'visualizer',
    'custom_imports',
    'model_wrapper_cfg',
)
#: What a config of this tool says outside the two stages.
TOP_LEVEL = (
    *DEFAULTS,
    *('images', 'rooms', 'pretrained', 'train_autoencoder', 'train_denoiser', 'autoencoder', 'denoiser', 'work_dir'),
    *SHARED,
)
#: Folders of a work dir that hold what was trained.
RESULTS = ('pipeline', 'unet', 'lora', 'control')
# Of a denoiser that begins untrained.
_PARTS = ('unet', 'text_encoder', 'scheduler')
_NEEDED = ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg')


def check_options(options: Iterable[str]) -> None:
    """Name a ``--cfg-options`` key that nothing would read.

    Config files may hold names of their own, which their settings are made of; to set these on the
    command line comes too late.

    Raises:
        ValueError: There is one.
    """
    for option in options:
        name = option.partition('.')[0]
        if name not in TOP_LEVEL:
            raise UserError(
                f'--cfg-options {option}: the training of diffusion models has no '
                f'setting {name!r}' + did_you_mean(name, TOP_LEVEL)
            )


def tuner_of(cfg: Config) -> type[DenoiserTuner] | None:
    """The class in ``denoiser.model`` that tunes a pretrained denoiser; None where it is of another kind."""
    name = ((cfg.get('denoiser') or {}).get('model') or {}).get('type')
    kind = MODELS.get(name) if isinstance(name, str) else name
    return kind if isinstance(kind, type) and issubclass(kind, DenoiserTuner) else None


def check_keys(cfg: Config) -> None:
    """Name a key of a stage's section that its Runner would not read, or one that it lacks.

    Raises:
        ValueError: There is one.
    """
    known = [
        name
        for name in inspect.signature(Runner.__init__).parameters
        if name not in ('self', 'cfg', 'work_dir', 'resume', 'experiment_name')
    ]
    for stage, more in (('autoencoder', ()), ('denoiser', _PARTS)):
        section = cfg.get(stage) or {}
        if 'runner_type' in section:  # it knows what it reads
            continue
        for name in section:
            if name not in (*known, 'model_wrapper_cfg', 'custom_imports', *more):
                raise UserError(f'{stage} has no setting {name!r}' + _place_of(name, stage, section, (*known, *more)))
        more = () if cfg.get('pretrained') or tuner_of(cfg) else more
        missing = [name for name in (*_NEEDED, *more) if section and name not in section]
        if missing:
            raise UserError(
                f'{stage} lacks {", ".join(missing)}: take it from the same section of configs/diffusion_camvid.py'
            )


def _place_of(name: str, stage: str, section: Mapping, known: Iterable[str]) -> str:
    """Where in a section a misplaced key stands, or the nearest name."""
    dataset = (section.get('train_dataloader') or {}).get('dataset') or {}
    places = [
        f'{stage}.{path}.{name}'
        for path, part in (('model', section.get('model') or {}), ('train_dataloader.dataset', dataset))
        if name in part
    ]
    return f'; did you mean {" or ".join(places)}?' if places else did_you_mean(name, known)


def check_crops(cfg: Config) -> None:
    """Name a size that is none, or a crop of the autoencoder's stage that is larger than its image.

    Raises:
        ValueError: One is.
    """
    size = (cfg.get('images') or {}).get('size')
    if size is None:  # told later, with what is missing
        return
    if not isinstance(size, Sequence) or len(size) != 2:
        raise UserError(f'images.size = {size!r} must be (height, width) in pixels')
    section = cfg.get('autoencoder')
    if not (section and cfg.get('train_autoencoder', not cfg.get('pretrained'))):
        return
    view = section.train_dataloader.dataset
    size, name = view.get('size', size), 'images.size'
    for key, crop in (('train_dataloader.dataset.crop', view.get('crop')), ('model.crop', section.model.get('crop'))):
        if crop is None:
            continue
        if any(a > b for a, b in zip(crop, size)):
            raise UserError(
                f'autoencoder.{key} {tuple(crop)} is larger than {name} '
                f'{tuple(size)}: make it smaller, or None to crop nothing there'
            )
        size, name = crop, f'autoencoder.{key}'


def check_length(cfg: Config) -> None:
    """Name an autoencoder that shall be trained on although a denoiser learns from its latents.

    Args:
        cfg (Config): Of a run that is resumed and trains an autoencoder.

    Raises:
        ValueError: It is one.
    """
    folder = osp.join(cfg.work_dir, 'autoencoder')
    last, loop = osp.join(folder, 'last_checkpoint'), cfg.autoencoder.train_cfg
    if not (osp.isdir(osp.join(folder, 'vae')) and osp.isfile(last)):
        return
    with open(last, encoding='utf-8') as file:
        done = re.search(r'_(\d+)\.pth$', file.read().strip())
    length = loop.get('max_iters') or loop.get('max_epochs')
    if done and length and int(done[1]) < length:
        raise UserError(
            f'the autoencoder in {folder} is finished after {done[1]}, and the denoiser learns from its latents, so it '
            f'cannot go on to {length}: set autoencoder.train_cfg back, or give another --work-dir'
        )


def check_fresh(work_dir: str) -> None:
    """Name a folder whose result a new training would replace.

    Raises:
        FileExistsError: It holds one.
    """
    for name in RESULTS:
        if osp.isdir(osp.join(work_dir, name)):
            raise FileInTheWayError(
                f'{work_dir} holds a trained model ({name}), which a new training '
                'would replace: go on with --resume, or give another --work-dir'
            )


def check_pretrained(source: str, vae: Mapping, unet: Mapping) -> None:
    """Name a pretrained model that these stages do not train, before any image is encoded.

    Args:
        source (str): Folder, file or hub id.
        vae (Mapping): Its config.
        unet (Mapping): Its config.

    Raises:
        ValueError: It is of another family than Stable Diffusion, or of another kind.
    """
    family = family_of(source)
    if family.model != 'LatentDiffusion':
        raise UserError(
            f'pretrained={source!r} is of {family.name}, which configs/diffusion_lora.py and configs/diffusion_full.py '
            'tune: begin from one of these'
        )
    refuse_other_kinds(source, unet, vae, {})
    if unet['in_channels'] != vae['latent_channels']:
        raise UserError(
            f'pretrained={source!r} has a U-Net of {unet["in_channels"]} input channels for latents of '
            f'{vae["latent_channels"]}: inpainting and editing models are not trained, give a text-to-image model'
        )
    if unet.get('time_cond_proj_dim'):
        raise UserError(
            f'pretrained={source!r} is a latent consistency model, which would unlearn its few steps: give the model '
            'that it was distilled from'
        )


def forget_unfinished(work_dir: str) -> None:
    """Let a new training begin as in an empty folder: what ``--resume`` would go on with is of the one before.

    Checkpoints stay where they are until the new ones take their names.
    """
    for name in ('autoencoder/last_checkpoint', 'denoiser/last_checkpoint', 'finished.json'):
        with suppress(FileNotFoundError):
            os.remove(osp.join(work_dir, name))
    for name in ('autoencoder/vae', 'denoiser/start'):
        shutil.rmtree(osp.join(work_dir, name), ignore_errors=True)


def warn_if_nothing_to_resume(work_dir: str) -> None:
    """Log that ``--resume`` begins anew; no error, since clusters submit it always."""
    begun = ('autoencoder/last_checkpoint', 'autoencoder/vae', 'denoiser/last_checkpoint', 'denoiser/start', *RESULTS)
    if not any(osp.exists(osp.join(work_dir, name)) for name in begun):
        print_log(f'nothing to resume in {work_dir}: starting anew', 'current', level=logging.WARNING)


def says_finished(training) -> bool:
    """Whether a training with these settings, on these images, ran to its end in its folder.

    Args:
        training (DiffusionTraining): About to run.
    """
    path = _mark(training)
    if not (osp.isfile(path) and osp.isdir(training.result)):
        return False
    note = read_json(path, lambda content: isinstance(content, dict), 'remove it, and the training goes on')
    return note.get('made_of') == _made_of(training)


def mark_finished(training) -> None:
    """Note in its folder that a training has ended, see :func:`says_finished`."""
    content = json.dumps(dict(made_of=_made_of(training)))
    write_atomic(_mark(training), content.encode())


def _mark(training) -> str:
    return osp.join(training.work_dir, 'finished.json')


def files_of(dataset) -> list[str]:
    """Of the images, and of their label maps where there are some."""
    return [*dataset.files, *getattr(dataset, 'maps', ())]


def stamps(dataset) -> list[tuple[str, int, int]]:
    """Path, bytes and moment of the last change of the images, and of their label maps where there are some.

    Pictures of some formats are as large as all others of their height and width, whatever they show.
    """
    found = ((path, os.stat(path)) for path in files_of(dataset))
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _made_of(training) -> str:
    """What decides whether anything is left to do: lengths of the stages, and the images."""
    cfg = training.cfg
    lengths = [(cfg.get(stage) or {}).get('train_cfg') for stage in ('autoencoder', 'denoiser')]
    said = (
        lengths,
        training.trains_autoencoder,
        training.trains_denoiser,
        training.pretrained,
        sorted(training.images.items()),
        cfg.get('mirror'),
        stamps(training.dataset),
    )
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
