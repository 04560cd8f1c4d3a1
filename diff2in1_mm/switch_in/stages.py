"""The text of what creates synthetic images and learns from them."""

from typing import Any

from mmengine.config import Config

from ..diffusion.flow_model import FlowModel
from ..diffusion.loading.embedded import locate
from ..diffusion.loading.source import trained_side
from ..utils.errors import UserError
from .options import SwitchOptions
from .python_text import arguments, as_dict, part, replacing

__all__ = ['creation_stage']


def creation_stage(cfg: Config, options: SwitchOptions, task: str) -> list[str]:
    """Data-set wrapper, hook, and checkpoints that a kill cannot damage.

    Args:
        cfg (Config): The base.
        options (SwitchOptions): ``T``, ``warm_up`` and, where the backbone is kept, the diffusion model of it.
        task (str): 'segmentation', 'instances' or 'panoptic'.

    Raises:
        ValueError: No training data, or no room for two stages.
    """
    if 'dataset' not in part(cfg, 'train_dataloader'):
        raise UserError(
            'the config has no train_dataloader with a dataset, and there is nothing '
            'to make synthetic images from: give one, or take --features-only.'
        )
    warm_up, unit = _warm_up(cfg, options.warm_up)
    lines = ["type='SelfImprovingHook'", f'# {unit}; best until validation stops rising', f'warm_up={warm_up}']
    if task == 'instances':
        lines += ['# boxes of theta_C with a lower score are left out, see docs/detection.md', 'confidence=0.9']
    creation = arguments(_creation(cfg, options, task), 8)
    lines.append(f'creation=dict(\n{creation})')
    checkpoint = _checkpoint(cfg)
    return [
        'train_dataloader = dict(dataset=dict(\n'
        "    _delete_=True, type='SyntheticMixDataset', ratio=1.0,\n"
        '    dataset=_base_.train_dataloader.dataset))',
        f'custom_hooks = [{_hooks(cfg)}dict(\n{arguments(lines, 4)})]',
        f'default_hooks = dict(checkpoint={checkpoint})',
    ]


def _warm_up(cfg: Config, wanted: int | None) -> tuple[int, str]:
    """Its length and what it counts."""
    loop = part(cfg, 'train_cfg')
    unit = 'epochs' if loop.get('max_epochs') else 'iterations'
    length = loop.get('max_epochs') or loop.get('max_iters')
    if not length or length < 2:
        raise UserError(f'train_cfg={dict(loop)} has no room for two stages: set max_iters or max_epochs to 2 or more.')
    if wanted is not None and wanted >= length:
        raise UserError(f'a warm-up of {wanted} {unit} leaves none of the {length} to self-improvement: give less.')
    return (length // 2 if wanted is None else wanted), unit


def _hooks(cfg: Config) -> str:
    """The base's own, without a second moving average: theta_C is one."""
    if not cfg.get('custom_hooks'):
        return ''
    if any(str(hook['type']).endswith('EMAHook') for hook in cfg.custom_hooks):
        return "*[h for h in _base_.custom_hooks if not h['type'].endswith('EMAHook')], "
    return '*_base_.custom_hooks, '


def _checkpoint(cfg: Config) -> str:
    hooks = part(cfg, 'default_hooks')
    settings: dict[str, Any] = dict(type='AtomicCheckpointHook')
    if not hooks.get('checkpoint'):
        settings['interval'] = 1  # MMEngine's own default
    return replacing(hooks, 'checkpoint', **settings)


def _creation(cfg: Config, options: SwitchOptions, task: str) -> list[str]:
    """Arguments of ``creation``: T and sizes by the kind of labels."""
    side = trained_side(locate(options.diffusion), options.family.usual_side)
    default, scale, keep_ratio, labelled = 300, (side * 3 // 2, side), True, None
    if task == 'segmentation':
        default, scale = 400, _crop_scale(cfg, side)
    else:
        labelled, keep_ratio = _test_scale(cfg)
    if labelled is not None and not keep_ratio:  # images of the ratio that the detector squeezes all images to
        scale = _enlarged(labelled, side)
    lines = []
    if options.keep_backbone:
        lines += [
            '# in memory while samples are made only',
            f'diffusion={as_dict(source=options.diffusion, dtype=options.dtype)}',
        ]
    lines += [
        f'T={options.T or default}',
        *(["T_of='sd'"] if issubclass(options.family, FlowModel) else []),
        *_condition(options),
        '# (w, h), about what the diffusion model was trained at',
        f'scale={scale}',
    ]
    if not keep_ratio:
        lines += ['# not within it: the detector looks at images of this ratio', 'keep_ratio=False']
    if labelled:
        lines += ['# at which the detector looks at them, as in testing', f'label_scale={labelled}']
    return lines


def _condition(options: SwitchOptions) -> list[str]:
    told = options.unconditioned
    if told is None:
        return ["condition=dict(type='ComposedCaption', scene='scene')"]
    comment = ['# or classes=[...], names by its numbers: each image is told the class that it shows least']
    return [*(comment if 'label' in told else []), f'condition={as_dict(**told)}']


def _crop_scale(cfg: Config, side: int) -> tuple[int, int]:
    """(w, h) of the training crops, enlarged where the diffusion model knows larger images."""
    size = part(cfg.model, 'data_preprocessor').get('size') or cfg.get('crop_size') or side
    height, width = (size, size) if isinstance(size, int) else size
    return _enlarged((width, height), side)


def _enlarged(scale: tuple[int, int], side: int) -> tuple[int, int]:
    """(w, h) with the shorter of them at least ``side``."""
    larger = max(1.0, side / min(scale))
    return round(scale[0] * larger), round(scale[1] * larger)


def _test_scale(cfg: Config) -> tuple[tuple[int, int] | None, bool]:
    """(w, h) of ``Resize`` in the validation pipeline, and whether it keeps an image's ratio."""
    dataset = part(part(cfg, 'val_dataloader'), 'dataset')
    for step in dataset.get('pipeline') or []:
        scale = step.get('scale')
        if str(step['type']).endswith('Resize') and isinstance(scale, (list, tuple)):
            return tuple(scale), bool(step.get('keep_ratio', False))
    return None, True
