"""The text of a switched config."""
import os.path as osp
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple

from mmengine.config import Config
from torch import nn

from ..synthesis.labellers import labeller_for
from .built import build_model, load
from .maps import BackboneMaps, measure_maps

__all__ = ['SwitchOptions', 'switch_in']

_HEAD = """\
# The Diff-2-in-1 version of {base},
# written by tools/switch_in.py; made to be edited, docs/options.md tells what there is.
"""


@dataclass(frozen=True)
class SwitchOptions:
    """What the person who switches a config chooses.

    Attributes:
        diffusion (str): Source of the diffusion model: hub id, folder or file.
        dtype (str): Of its frozen parts: 'bf16', 'fp16' or 'fp32'.
        features_only (bool): Only the backbone, without synthetic data and theta_C.
        warm_up (int | None): In epochs or iterations, as the config's loop. None: half the run.
        T (int | None): Noise step of creation. None: 400, for boxes and panoptic maps 300.
        maps (BackboneMaps | None): What the replaced backbone gave. None: it is built and tried.
        side (int | None): Height and width of the images to try it on, in pixels. None: the
            backbone's ``img_size``, or 256.
    """

    diffusion: str = 'stable-diffusion-v1-5/stable-diffusion-v1-5'
    dtype: str = 'bf16'
    features_only: bool = False
    warm_up: Optional[int] = None
    T: Optional[int] = None
    maps: Optional[BackboneMaps] = None
    side: Optional[int] = None


def switch_in(base: str, out: str, options: SwitchOptions = SwitchOptions()) -> str:
    """Text of a config that inherits ``base`` and puts a diffusion backbone into it.

    The replaced backbone is built without weights and run once, so that the necks and heads get
    maps of the channels and strides that they expect.

    Args:
        base (str): Config file, or ``'mmseg::...'`` / ``'mmdet::...'``.
        out (str): Where the text will lie; a path in it is relative to this file.
        options (SwitchOptions): See there.

    Returns:
        str: Python source.

    Raises:
        FileNotFoundError, ImportError, ValueError: One sentence that says the mend.
    """
    cfg = load(base)
    model = None
    if options.maps is None or not options.features_only:
        model = build_model(cfg, with_backbone=options.maps is None)
    parts = [_HEAD.format(base=base) + f'_base_ = [{_inherited(base, out)!r}]',
             _imports(cfg), *_run(cfg, options)]
    if not options.features_only:
        parts += _self_improving(cfg, options, _task(model))
    # last: it takes the model apart
    maps = options.maps or measure_maps(model, options.side or _side(cfg))
    parts[2:2] = [_model(cfg, options, maps)]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _task(model: nn.Module) -> str:
    """The kind of labels that theta_C would make."""
    try:
        return labeller_for(model).task
    except TypeError as error:
        raise ValueError(f'{error} --features-only gives this model the features alone.') from error


def _side(cfg: Config) -> int:
    """Some transformers take images of one size only."""
    size = cfg.model.backbone.get('img_size') or 256
    return size if isinstance(size, int) else max(size)


def _inherited(base: str, out: str) -> str:
    if '::' in base:
        return base
    return osp.relpath(base, osp.dirname(osp.abspath(out))).replace(osp.sep, '/')


def _imports(cfg: Config) -> str:
    imports = _part(cfg, 'custom_imports').get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    return f'custom_imports = {_text(dict(imports=[*imports, "diff2in1_mm"]))}'


def _model(cfg: Config, options: SwitchOptions, maps: BackboneMaps) -> str:
    """The backbone, told how the config normalises and what the replaced one gave."""
    processor = _part(cfg.model, 'data_preprocessor')
    lines = ["type='DiffusionBackbone'",
             f'diffusion={_text(dict(source=options.diffusion, dtype=options.dtype))}',
             '# how the data preprocessor normalises; undone inside',
             f"input_mean={_numbers(processor.get('mean') or [0.0])}",
             f"input_std={_numbers(processor.get('std') or [1.0])}"]
    if not processor.get('bgr_to_rgb', False):
        lines.append('input_bgr=True')
    lines += [f'# what {cfg.model.backbone.type} gave'
              + ('; None: nothing reads that map' if None in maps.channels else ''),
              f'out_channels={list(maps.channels)}', f'out_strides={list(maps.strides)}']
    body = _indented(['_delete_=True', *lines], 8)
    first = '    pretrained=None,\n' if cfg.model.get('pretrained') else ''
    return f'model = dict(\n{first}    backbone=dict(\n{body}))'


def _run(cfg: Config, options: SwitchOptions) -> List[str]:
    """What of the base's run belongs to the backbone that is gone."""
    parts = []
    if _part(cfg, 'randomness').get('seed') is None:
        parts.append('randomness = dict(seed=0)  # so that a resumed run goes on with the same '
                     'batches')
    if cfg.get('load_from'):
        parts.append('load_from = None  # it was for the backbone that is replaced')
    wrapper = _part(cfg, 'optim_wrapper')
    if wrapper.get('constructor', 'DefaultOptimWrapperConstructor') != \
            'DefaultOptimWrapperConstructor':
        parts.append('# learning rates by layer were for the backbone that is replaced\n'
                     "optim_wrapper = dict(\n    constructor='DefaultOptimWrapperConstructor',\n"
                     '    paramwise_cfg=dict(_delete_=True))')
    elif _slows_projections(wrapper.get('paramwise_cfg') or {}):
        parts.append('# the projections are new, unlike the backbone that learned slowly\n'
                     'optim_wrapper = dict(paramwise_cfg=dict(custom_keys={\n'
                     "    'backbone.projections': dict(lr_mult=1.0)}))")
    return parts


def _slows_projections(paramwise: Mapping[str, Any]) -> bool:
    keys = paramwise.get('custom_keys', {})
    return any(key in 'backbone.projections.0.weight' and value.get('lr_mult', 1) != 1
               for key, value in keys.items())


def _self_improving(cfg: Config, options: SwitchOptions, task: str) -> List[str]:
    """Data-set wrapper, hook, and checkpoints that a kill cannot damage."""
    if cfg.get('train_dataloader') is None:
        raise ValueError('the config has no train_dataloader, and there is nothing to make '
                         'synthetic images from: give one, or take --features-only.')
    warm_up, unit = _warm_up(cfg, options.warm_up)
    hooks = ''
    if cfg.get('custom_hooks'):
        hooks = '*_base_.custom_hooks, '
        if any('EMAHook' in hook['type'] for hook in cfg.custom_hooks):  # theta_C is the average
            hooks = "*[h for h in _base_.custom_hooks if 'EMAHook' not in h['type']], "
    creation = _indented(_creation(cfg, options, task), 8)
    interval = '' if _part(cfg, 'default_hooks').get('checkpoint') else ', interval=1'
    return [
        'train_dataloader = dict(dataset=dict(\n'
        "    _delete_=True, type='SyntheticMixDataset', ratio=1.0,\n"
        '    dataset=_base_.train_dataloader.dataset))',
        f"custom_hooks = [{hooks}dict(\n    type='SelfImprovingHook',\n"
        f'    # {unit}; best until validation stops rising\n    warm_up={warm_up},\n'
        f'    creation=dict(\n{creation}))]',
        f"default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook'{interval}))"]


def _warm_up(cfg: Config, wanted: Optional[int]) -> Tuple[int, str]:
    """Its length and what it counts."""
    loop = _part(cfg, 'train_cfg')
    unit = 'epochs' if loop.get('max_epochs') else 'iterations'
    length = loop.get('max_epochs') or loop.get('max_iters')
    if not length or length < 2:
        raise ValueError(f'train_cfg={dict(loop)} has no room for two stages: set max_iters or '
                         'max_epochs to 2 or more.')
    if wanted is not None and not 0 <= wanted < length:
        raise ValueError(f'a warm-up of {wanted} {unit} leaves none of the {length} to '
                         'self-improvement: give less.')
    return (length // 2 if wanted is None else wanted), unit


def _creation(cfg: Config, options: SwitchOptions, task: str) -> List[str]:
    maps = task == 'segmentation'
    lines = [f'T={options.T or (400 if maps else 300)}',
             "condition=dict(type='ComposedCaption', scene='scene')"]
    if maps:
        size = cfg.get('crop_size') or _part(cfg.model, 'data_preprocessor').get('size')
        height, width = size or (512, 512)
        return [*lines, f'scale=({width}, {height})']
    lines.append('scale=(768, 512)')
    scale = _test_scale(cfg)
    return [*lines, f'label_scale={scale}'] if scale else lines


def _test_scale(cfg: Config) -> Optional[Tuple[int, int]]:
    """(w, h) of ``Resize`` in the validation pipeline."""
    dataset = _part(_part(cfg, 'val_dataloader'), 'dataset')
    for step in dataset.get('pipeline') or []:
        if step['type'].endswith('Resize') and step.get('scale'):
            return tuple(step['scale'])
    return None


def _part(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a config, empty where it is missing or None."""
    return settings.get(key) or {}


def _indented(lines: List[str], width: int) -> str:
    """Arguments one below the other; comments stay without a comma."""
    ends = [line if line.startswith('#') else f'{line},' for line in lines[:-1]]
    return '\n'.join(' ' * width + line for line in [*ends, lines[-1]])


def _text(settings: Mapping[str, Any]) -> str:
    return f"dict({', '.join(f'{key}={value!r}' for key, value in settings.items())})"


def _numbers(values: Any) -> list:
    return [float(value) for value in (values if hasattr(values, '__iter__') else [values])]
