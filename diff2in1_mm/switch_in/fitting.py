"""What a config's model needs of a diffusion model, found by building and trying it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mmengine.config import Config
from mmengine.model import BaseModel

from ..tasks import labeller_for
from ..utils.errors import UnfitError, UserError
from .built import build_model, loads_masks
from .maps import BackboneMaps, measure_maps
from .options import SwitchOptions
from .python_text import part
from .refusals import BackboneError, LabelsError
from .stages import creation_stage
from .trial import first_that_works, put_maps, try_model

__all__ = ['Fit', 'fit_model']

_WITHOUT_LABELS = dict(
    FastRCNN='FastRCNN looks at proposals that its data come with, and new images have none.',
    RPN='RPN finds objects of one class, whatever classes its data have, and these cannot label new images.',
)
_TASKS = ('segmentation', 'instances', 'panoptic')
# Sides of images in pixels, the quickest first. A stride is told by a map of four pixels or more, so a coarse one is
# measured again on larger images; what follows the backbone can mostly be tried on smaller ones.
_MEASURED_ON = (128, 256, 512)
_TRIED_ON = (64, 256, 512)  # DETR's kind needs as many places on the coarse maps as it has queries


@dataclass(frozen=True)
class Fit:
    """What was found of a model.

    Attributes:
        task (str | None): The labels that theta_C will make: 'segmentation', 'instances' or 'panoptic'. None: none.
        maps (BackboneMaps | None): What the diffusion backbone has to give. None: the model keeps its own.
    """

    task: str | None
    maps: BackboneMaps | None


def fit_model(cfg: Config, options: SwitchOptions, trial: bool = True) -> Fit:
    """Builds a config's model without weights and does with it once what a run will do.

    Args:
        cfg (Config): Of :func:`load`.
        options (SwitchOptions): See there.
        trial (bool): False leaves the trial out, for a model that has been tried. Default True.

    Raises:
        ImportError: A package is missing.
        ValueError: The config or its model cannot be used.
        BackboneError: A diffusion model cannot take the place of the backbone, or the model cannot be run.
        LabelsError: theta_C cannot label for it.
    """
    if cfg.model.get('language_model'):
        raise UserError(
            f'{cfg.model.type} reads texts beside its images, which synthetic samples do not carry: switch a detector '
            'of images alone.'
        )
    with_backbone = _with_own_backbone if options.keep_backbone else _with_diffusion_backbone
    return with_backbone(cfg, options, trial)


def _with_own_backbone(cfg: Config, options: SwitchOptions, trial: bool) -> Fit:
    model = build_model(cfg, with_backbone=True)
    task = _task(model)
    creation_stage(cfg, options, task)  # what the config lacks is told before the trial
    if trial:
        try_model(model, _sides(options, _own_size(cfg), _TRIED_ON), masks=loads_masks(cfg))
    return Fit(task, None)


def _with_diffusion_backbone(cfg: Config, options: SwitchOptions, trial: bool) -> Fit:
    if not cfg.model.get('backbone'):
        raise BackboneError(
            f'{cfg.model.type} has no backbone of its own to replace: give the config of a segmentor or a detector.'
        )
    maps = options.maps
    model = build_model(cfg, with_backbone=maps is None)
    task = None if options.features_only else _task(model)
    if task is not None:
        creation_stage(cfg, options, task)
    if type(model).__name__ == 'TridentFasterRCNN':
        raise BackboneError('TridentFasterRCNN takes three maps of each image from its own backbone.')
    if maps is None:
        maps = _measured(model, _sides(options, _own_size(cfg), _MEASURED_ON))
    if trial and (task is not None or _has_labels(model)):
        put_maps(model, maps)
        try_model(model, _sides(options, None, _TRIED_ON), labels=task is not None, masks=loads_masks(cfg))
    return Fit(task, maps)


def _task(model: BaseModel) -> str:
    """The kind of labels that theta_C would make.

    Raises:
        LabelsError: None, or one that needs more than a few lines.
    """
    if type(model).__name__ in _WITHOUT_LABELS:
        raise LabelsError(_WITHOUT_LABELS[type(model).__name__])
    try:
        task = labeller_for(model).task
    except UnfitError as error:
        raise LabelsError(str(error)) from error
    if task not in _TASKS:
        raise LabelsError(
            f'{task} is not switched with its synthetic images: inherit one of the configs of '
            'docs/normals_and_depth.md.'
        )
    return task


def _has_labels(model: BaseModel) -> bool:
    """Whether the model is of a task whose labels are known, for which it can be tried."""
    try:
        return labeller_for(model).task in _TASKS
    except UserError:
        return False


def _own_size(cfg: Config) -> int | None:
    """Side of the images that the backbone was made for, in pixels, where it says one."""
    backbone = part(cfg.model, 'backbone')
    size = backbone.get('img_size') or backbone.get('input_size')
    return size if size is None or isinstance(size, int) else max(size)


def _sides(options: SwitchOptions, own: int | None, others: Sequence[int]) -> list[int]:
    """Of the images to try, in pixels: what the user says, or others, with the size of a backbone that has one."""
    if options.side is not None:
        return [options.side]
    return list(others) if own is None else [others[0], own, 512]


def _measured(model: BaseModel, sides: Sequence[int]) -> BackboneMaps:
    maps = first_that_works(sides, partial(measure_maps, model))
    if sides[0] == _MEASURED_ON[0] < 4 * max(maps.strides) and len(sides) > 1:
        maps = first_that_works(sides[1:], partial(measure_maps, model))
    return maps
