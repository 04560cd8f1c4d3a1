"""A foreign config, read and built without its weights."""

import copy
import os.path as osp
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import get_installed_path
from torch import nn

from ..launch.config import give_preprocessor
from ..launch.processes import replace_sync_bn
from ..launch.read_config import faults_told, not_importable
from ..utils.errors import MissingFileError, NotInstalledError, UserError, first_line
from ..utils.optional import scope_of
from ..utils.quiet_libraries import known_warnings_untold
from .python_text import part
from .refusals import is_missing

__all__ = ['WEIGHTS', 'build_model', 'library_configs', 'load', 'loads_masks']

#: What would be downloaded or read when a model is built.
WEIGHTS = ('init_cfg', 'pretrained', 'checkpoint', 'teacher_ckpt')


def load(base: str) -> Config:
    """Reads a config to switch.

    Args:
        base (str): Config file, or ``'mmseg::...'`` / ``'mmdet::...'``.

    Returns:
        Config: Its model has the data preprocessor that a Runner would give it.

    Raises:
        FileNotFoundError, ImportError, ValueError: It cannot be read, or nothing can be switched.
    """
    cfg = _read_library(base) if '::' in base else _read_file(base)
    model: Any = cfg.get('model') or {}
    if not model.get('type'):
        raise UserError(f'{base} has no model: give the config of a segmentor or a detector.')
    if str(part(model, 'backbone').get('type')).endswith('DiffusionBackbone'):
        raise UserError(f'{base} already has a DiffusionBackbone.')
    _find_teacher(cfg)
    give_preprocessor(cfg)
    return cfg


def _find_teacher(cfg: Config) -> None:
    """Make a path from the root of a library's repository one that is there: LD names its teacher's config so."""
    named, scope = cfg.model.get('teacher_config'), scope_of(cfg)
    if isinstance(named, str) and named.startswith('configs/') and scope == 'mmdet' and not osp.isfile(named):
        found = osp.join(library_configs(scope), named.removeprefix('configs/'))
        if osp.isfile(found):
            cfg.model.teacher_config = found


def library_configs(library: str) -> str:
    """The folder of the configs that come with a library.

    Args:
        library (str): 'mmseg' or 'mmdet'.

    Raises:
        ValueError: It is not installed.
    """
    try:
        return osp.join(get_installed_path(library), '.mim', 'configs')
    except Exception as error:  # of several kinds
        raise UserError(f'{library} is not installed, and so are none of its configs: install it.') from error


def _read_library(name: str) -> Config:
    try:
        return Config.fromstring(f'_base_ = [{name!r}]', '.py')
    except ImportError as error:
        raise not_importable(name, error) from error
    except Exception as error:  # several kinds, for names that it does not know
        library, _, config = name.partition('::')
        if library in ('mmseg', 'mmdet') and osp.isfile(path := osp.join(library_configs(library), config)):
            raise UserError(  # MMEngine's pattern of names has no '+' and no '.'
                f'{name} is there, but is not read by its name ({first_line(error)}): give its path, {path}'
            ) from error
        raise MissingFileError(
            f'{name} cannot be read as a config of an installed library ({first_line(error)}): its folder '
            '`.mim/configs` has the names, such as '
            "'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'."
        ) from error


def _read_file(path: str) -> Config:
    if not osp.isfile(path):
        raise MissingFileError(
            f"there is no config {path!r}: give a file, or the name of a library's own, such as "
            "'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'."
        )
    with faults_told(path):
        cfg = None if Config._is_lazy_import(path) else Config.fromfile(path)
    if cfg is None:
        raise UserError(
            f'{path} is in the style of `with read_base():` or imports modules, which '
            'a config with `_base_` cannot inherit: write it in the other style.'
        )
    return cfg


def build_model(cfg: Config, with_backbone: bool) -> nn.Module:
    """The config's model without its weights, SyncBN as BN.

    Args:
        cfg (Config): Of a segmentor or a detector.
        with_backbone (bool): False puts an ``nn.Identity`` where the backbone would be.

    Raises:
        ImportError: A package is missing.
        ValueError: It cannot be built here.
    """
    model = copy.deepcopy(cfg.model)
    _drop_weights(model)
    replace_sync_bn(model)
    if not with_backbone:
        model.backbone = dict(type=nn.Identity)
    with DefaultScope.overwrite_default_scope(scope_of(cfg) or 'mmengine'):
        try:
            with known_warnings_untold():
                return MODELS.build(model)
        except Exception as error:  # whatever a library raises
            if is_missing(error):
                raise NotInstalledError(
                    f'the model of the config needs what is not installed ({first_line(error)}): install it.'
                ) from error
            raise UserError(
                f'the model of the config cannot be built here ({first_line(error)}): mend the config; if only its '
                'backbone fails, say with --out-channels and --out-strides what that gives.'
            ) from error


def loads_masks(cfg: Config) -> bool:
    """Whether the training data of a detector's config has masks beside the boxes.

    Args:
        cfg (Config): Of a detector.
    """
    return _has_masks(cfg.get('train_dataloader'))


def _has_masks(value: Any) -> bool:
    if isinstance(value, dict):
        loads = value.get('with_mask', str(value.get('type')).endswith('LoadPanopticAnnotations'))
        return bool(loads) or any(map(_has_masks, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_masks, value))


def _drop_weights(value: Any) -> None:
    if isinstance(value, dict):
        value.update({key: None for key in WEIGHTS if key in value})
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for member in value:
            _drop_weights(member)
