"""The text of a switched config."""

import os.path as osp
import tempfile
from collections.abc import Mapping
from dataclasses import replace

from mmengine.config import Config

from ..utils.errors import UserError, first_line
from .built import load
from .fitting import Fit, fit_model
from .maps import BackboneMaps
from .options import SwitchOptions
from .python_text import arguments, as_dict, floats, part, replacing
from .refusals import BackboneError, LabelsError
from .stages import creation_stage

__all__ = ['check_text', 'switch_in', 'switched_text']

_HEAD = """\
# The Diff-2-in-1 version of {base},
# written by {program}; made to be edited, docs/options.md tells what there is.
_base_ = [{inherited!r}]"""
# They rate layers of the backbone that is replaced, and know no other.
_LAYER_DECAY = (
    'LearningRateDecayOptimizerConstructor',
    'LayerDecayOptimizerConstructor',
    'LayerDecayOptimWrapperConstructor',
)


def switch_in(base: str, out: str, options: SwitchOptions = SwitchOptions()) -> str:
    """Text of a config that inherits ``base`` and puts a diffusion backbone, synthetic data or both into it.

    A backbone that is replaced is built without weights and run once, so that the necks and heads get
    maps of the channels and strides that they expect.

    Args:
        base (str): Config file, or ``'mmseg::...'`` / ``'mmdet::...'``.
        out (str): Where the text will lie; a path in it is relative to this file; absolute where
            links make that ambiguous.
        options (SwitchOptions): See there.

    Returns:
        str: Python source.

    Raises:
        FileNotFoundError, ImportError, ValueError: One sentence that says the mend.
    """
    cfg = load(base)
    try:
        fit = fit_model(cfg, options)
    except (BackboneError, LabelsError) as error:
        raise UserError(f'{error} {_what_else(error, cfg, options)}') from error
    return switched_text(cfg, base, out, options, fit)


def switched_text(cfg: Config, base: str, out: str, options: SwitchOptions, fit: Fit) -> str:
    """What :func:`switch_in` writes for a model that has been tried.

    Args:
        cfg (Config): ``base``, of :func:`load`.
        base (str): See :func:`switch_in`.
        out (str): See :func:`switch_in`.
        options (SwitchOptions): Those of the trial.
        fit (Fit): What the trial found.

    Raises:
        ValueError: The config has no training data, or no room for two stages.
    """
    stages = [] if fit.task is None else creation_stage(cfg, options, fit.task)
    changes = _run(cfg, weights_fit=fit.maps is None)
    if fit.maps is None:
        changes = [*_teacher_alone(cfg), *changes]
    else:
        changes = [_model(cfg, options, fit.maps), *changes, *_optimizer(cfg, options.train)]
    from diff2in1_commands import as_called  # the other way round nothing is imported

    head = _HEAD.format(base=base, program=as_called('tools/switch_in.py'), inherited=_inherited(base, out))
    return '\n\n'.join([head, _imports(cfg), *changes, *stages]) + '\n'


def check_text(text: str, out: str) -> None:
    """Reads a config that is to be written to ``out`` together with what it inherits.

    Args:
        text (str): Of :func:`switch_in`.
        out (str): Its file, in a folder that is there; not touched.

    Raises:
        ValueError: What the base says cannot be changed as the text does it.
    """
    with tempfile.NamedTemporaryFile('w', dir=osp.dirname(osp.abspath(out)), suffix='.py') as trial:
        trial.write(text)
        trial.flush()
        try:
            Config.fromfile(trial.name)
        except Exception as error:  # several kinds
            raise UserError(
                f'what was to be written cannot be read together with its base '
                f'({first_line(error)}); {out} was not touched. It was:\n{text}'
            ) from error


def _what_else(error: BackboneError | LabelsError, cfg: Config, options: SwitchOptions) -> str:
    """The end of a refusal: what works in place of what was asked for."""
    if options.keep_backbone:
        return 'The backbone is its own here already: mend the config, or switch another one.'
    if isinstance(error, LabelsError):
        return '--features-only gives this model the features alone.'
    try:
        fit_model(cfg, replace(options, keep_backbone=True, features_only=False, maps=None))
    except (UserError, ImportError):
        return 'Nor does it work with --keep-backbone: switch another model.'
    return '--keep-backbone leaves it in its place, and gives this model the synthetic images alone.'


def _inherited(base: str, out: str) -> str:
    """A path from the new file's folder; an absolute one where links make that ambiguous."""
    if '::' in base:
        return base
    base, folder = osp.abspath(base), osp.dirname(osp.abspath(out))
    relative = osp.relpath(base, folder)
    # MMEngine opens the path twice: as it is, and with every 'NAME/..' dropped from it, which is
    # another file where NAME is a link
    follows = osp.realpath(osp.join(folder, relative)) == osp.realpath(base)
    return (relative if follows else base).replace(osp.sep, '/')


def _imports(cfg: Config) -> str:
    imports = part(cfg, 'custom_imports').get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    return f'custom_imports = {replacing(cfg, "custom_imports", imports=[*imports, "diff2in1_mm"])}'


def _model(cfg: Config, options: SwitchOptions, maps: BackboneMaps) -> str:
    """The backbone, told how the config normalises and what the replaced one gave."""
    processor = part(cfg.model, 'data_preprocessor')
    lines = [
        '_delete_=True',
        "type='DiffusionBackbone'",
        f'diffusion={as_dict(source=options.diffusion, dtype=options.dtype)}',
        *_told(options),
        '# how the data preprocessor normalises; undone inside',
        f'input_mean={floats(processor.get("mean") or 0)}',
        f'input_std={floats(processor.get("std") or 1)}',
    ]
    if not (processor.get('bgr_to_rgb') or processor.get('rgb_to_bgr')):  # both exchange them
        lines.append('input_bgr=True')
    if options.train:
        lines.append(f'train={options.train!r}')
    lines += [
        f'# what {cfg.model.backbone.type} gave' + ('; None: nothing reads that map' if None in maps.channels else ''),
        f'out_channels={list(maps.channels)}',
        f'out_strides={list(maps.strides)}',
    ]
    # weights of the whole model would be for that backbone too
    weights = [key for key in ('pretrained', 'init_cfg') if cfg.model.get(key)]
    first = ''.join([f'    {key}=None,\n' for key in weights] + [f'    {line}\n' for line in _teacher(cfg)])
    return f'model = dict(\n{first}    backbone=dict(\n{arguments(lines, 8)}))'


def _told(options: SwitchOptions) -> list[str]:
    """What a backbone of a class-conditional model is told."""
    told = options.unconditioned
    if told is None or 'label' not in told:
        return []
    return ['# a class of the diffusion model, the same for all images', f'condition={as_dict(**told)}']


def _teacher(cfg: Config) -> list[str]:
    """Where the config of a model's teacher was found that the base names by a path of another folder."""
    found = cfg.model.get('teacher_config')
    if not (isinstance(found, str) and osp.isabs(found)):
        return []
    return ["# where this machine's MMDetection has it", f'teacher_config={found!r},']


def _teacher_alone(cfg: Config) -> list[str]:
    lines = _teacher(cfg)
    return ['model = dict(\n    ' + '\n    '.join(lines) + '\n)'] if lines else []


def _run(cfg: Config, weights_fit: bool) -> list[str]:
    """What another run than the base's needs; whether weights to start from still are this model's."""
    lines = []
    if part(cfg, 'randomness').get('seed') is None:
        lines += [
            '# so that a resumed run goes on with the same batches',
            f'randomness = {replacing(cfg, "randomness", seed=0)}',
        ]
    if cfg.get('load_from') and not weights_fit:
        lines.append('load_from = None  # it was for the backbone that is replaced')
    if cfg.get('resume'):
        lines.append('resume = False  # that was for the run of the base')
    if cfg.get('work_dir'):
        lines.append('work_dir = None  # named after this file, not the one of that run')
    return ['\n'.join(lines)] if lines else []


def _optimizer(cfg: Config, train: str | None) -> list[str]:
    """Learning rates that were for the weights of the replaced backbone, and that of a trained denoiser."""
    wrapper = part(cfg, 'optim_wrapper')
    paramwise = part(wrapper, 'paramwise_cfg')
    reasons, keys = [], {}
    if _slows(paramwise, 'backbone.projections.0.weight'):
        reasons.append('the projections are new, unlike the backbone that learned slowly')
        keys['backbone.projections'] = dict(lr_mult=1.0)
    if train == 'full':
        reasons.append('the pretrained denoiser learns slowly, as in VPD; 0.01 for depth')
        keys['backbone.denoiser'] = dict(lr_mult=0.1)
    elif train == 'lora' and _slows(paramwise, 'backbone.denoiser.lora_A.weight'):
        reasons.append('and so are the LoRA weights')
        keys['backbone.denoiser'] = dict(lr_mult=1.0)
    if wrapper.get('constructor') in _LAYER_DECAY:
        kept = {key: value for key, value in paramwise.items() if key not in ('num_layers', 'decay_rate', 'decay_type')}
        if keys:
            kept['custom_keys'] = {**part(kept, 'custom_keys'), **keys}
        return [
            '# learning rates by layer were for the backbone that is replaced\n'
            "optim_wrapper = dict(\n    constructor='DefaultOptimWrapperConstructor',\n"
            f'    paramwise_cfg={as_dict(**(dict(_delete_=True) if paramwise else {}), **kept)})'
        ]
    if not keys:
        return []
    listed = ',\n'.join(f'    {key!r}: {as_dict(**value)}' for key, value in keys.items())
    comment = ''.join(f'# {reason}\n' for reason in reasons)
    return [f'{comment}optim_wrapper = dict(paramwise_cfg=dict(custom_keys={{\n{listed}}}))']


def _slows(paramwise: Mapping, weight: str) -> bool:
    keys: Mapping = paramwise.get('custom_keys') or {}
    return any(key in weight and value.get('lr_mult', 1) != 1 for key, value in keys.items())
