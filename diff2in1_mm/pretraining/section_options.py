"""Misspelt options of a stage's parts, told before any stage runs: those of the denoiser would come up hours later."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    HOOKS,
    LOOPS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    Registry,
)

from ..utils.errors import UserError, did_you_mean, first_line, has_no_option, options_of

__all__ = ['check_parts']

#: Where a part stands in a section, its registry, and keys that MMEngine takes out before the part is built.
_PARTS: dict[str, tuple[Registry, tuple[str, ...]]] = {
    'model': (MODELS, ()),
    'optim_wrapper': (OPTIM_WRAPPERS, ('optimizer', 'constructor', 'paramwise_cfg')),
    'optim_wrapper.optimizer': (OPTIMIZERS, ()),
    'param_scheduler': (PARAM_SCHEDULERS, ('convert_to_iter_based',)),
    'train_cfg': (LOOPS, ('by_epoch',)),
    'custom_hooks': (HOOKS, ('priority',)),
    'train_dataloader.sampler': (DATA_SAMPLERS, ()),
}


def check_parts(cfg: Config) -> None:
    """Look at the sections ``autoencoder`` and ``denoiser`` of a config: every option of optimizers, schedules, hooks,
    loops and samplers, and whether the denoiser that begins untrained can be built.

    Args:
        cfg (Config): Of ``tools/train_diffusion.py``, its keys checked (``check_keys``).

    Raises:
        ValueError: A part has no such option, or the settings of U-Net, text encoder or scheduler do not fit together.
    """
    for stage in ('autoencoder', 'denoiser'):
        section = cfg.get(stage) or {}
        for path, part in _parts(section):
            registry, more = _PARTS[path]
            called = registry.get(part['type']) if isinstance(part['type'], str) else part['type']
            if called is not None:  # an unknown type is told by the registry
                _check(f'{stage}.{path}', called, part, more)
    untrained = cfg.get('denoiser') or {}
    if not cfg.get('pretrained') and 'unet' in untrained:
        _build_untrained(untrained)


def _parts(section: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Path and config of every part with a type."""
    for path in _PARTS:
        found: Any = section
        for key in path.split('.'):
            found = found.get(key) or {} if isinstance(found, Mapping) else {}
        for part in found if isinstance(found, Sequence) else [found]:
            if isinstance(part, Mapping) and part.get('type') is not None:
                yield path, part


def _check(place: str, called: Callable, part: Mapping, more: Sequence[str]) -> None:
    if _takes_all(called):
        return
    known = ('type', *options_of(called), *more)
    for option in part:
        if option not in known:
            raise UserError(has_no_option(called, option, f'{place} ({called.__name__})'))


def _takes_all(called: Callable) -> bool:
    """Whether the last constructor that gets an option takes whatever there is."""
    for base in called.__mro__ if inspect.isclass(called) else [called]:
        function = vars(base).get('__init__') if inspect.isclass(called) else base
        if function is None or base is object:
            continue
        if not any(p.kind == p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
            return False
    return True


def _build_untrained(section: Mapping) -> None:
    """U-Net and scheduler as diffusers build them, without memory for weights; names of the text encoder's settings."""
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig

    for name, called in (
        ('unet', UNet2DConditionModel),
        ('scheduler', DDIMScheduler),
        ('text_encoder', CLIPTextConfig),
    ):
        known = options_of(called)
        given = section.get(name) or {}
        for option in given:
            if option not in known and not (name == 'text_encoder' and hasattr(CLIPTextConfig(), option)):
                raise UserError(f'denoiser.{name} has no setting {option!r}' + did_you_mean(option, known))
        if name == 'text_encoder':
            continue
        try:
            with torch.device('meta'):
                called(**given)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UserError(f'denoiser.{name}: diffusers refuses these settings ({first_line(error)})') from error
    schedule = section.get('scheduler') or {}
    betas, steps = schedule.get('trained_betas'), schedule.get('num_train_timesteps', 1000)
    if betas is not None and len(betas) != steps:
        raise UserError(f'denoiser.scheduler has {len(betas)} trained_betas for {steps} num_train_timesteps')
