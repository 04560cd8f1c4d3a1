"""A foreign config, read and built without its weights."""
import copy
import os.path as osp

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

__all__ = ['build_model', 'first_line', 'load']


def load(base: str) -> Config:
    """Reads a config to switch.

    Args:
        base (str): Config file, or ``'mmseg::...'`` / ``'mmdet::...'``.

    Raises:
        FileNotFoundError, ImportError, ValueError: It cannot be read, or nothing can be switched.
    """
    if '::' not in base:
        if not osp.isfile(base):
            raise FileNotFoundError(f'there is no config {base!r}: give a file, or the name of one '
                                    "of MMSegmentation's or MMDetection's own, such as "
                                    "'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'.")
        if Config._is_lazy_import(base):
            raise ValueError(f'{base} is in the style of `with read_base():`, which a config with '
                             "`_base_` cannot inherit: give the same config in the other style.")
    cfg = _read(base)
    model = cfg.get('model') or {}
    if 'backbone' not in model:
        raise ValueError(f'the model of {base} has no backbone of its own to replace'
                         f" (type {model.get('type')!r}): give the config of a segmentor or a "
                         'detector.')
    if model.backbone.type.endswith('DiffusionBackbone'):
        raise ValueError(f'{base} already has a DiffusionBackbone.')
    return cfg


def _read(base: str) -> Config:
    try:
        return Config.fromstring(f'_base_ = [{base!r}]', '.py') if '::' in base \
            else Config.fromfile(base)
    except ImportError as error:
        raise ImportError(f'{base} imports what is not installed ({error.__cause__ or error}): '
                          'install it first.') from error
    except (OSError, AssertionError, ValueError) as error:  # MMEngine's, for unknown names
        raise FileNotFoundError(f'{base} cannot be read ({str(error).splitlines()[0]}): see the '
                                "folder `.mim/configs` of that library for the names.") from error


def build_model(cfg: Config, with_backbone: bool) -> nn.Module:
    """The config's model, nothing downloaded.

    Args:
        cfg (Config): Of a segmentor or a detector.
        with_backbone (bool): False puts an ``nn.Identity`` where the backbone would be.

    Raises:
        ValueError: It cannot be built here.
    """
    model = copy.deepcopy(cfg.model)
    _drop_weights(model)
    if not with_backbone:
        model.backbone = dict(type=nn.Identity)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        try:
            return MODELS.build(model)
        except Exception as error:  # whatever a library raises that misses something
            raise ValueError(
                f"the model of the config cannot be built here ({first_line(error)}): install what "
                'it needs; if only the backbone is missing, say with --out-channels and '
                '--out-strides what it gives.') from error


def first_line(error: Exception) -> str:
    """What an error says, short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip('. ')


def _drop_weights(value) -> None:
    """Takes out what would be downloaded or read."""
    if isinstance(value, dict):
        for key in ('init_cfg', 'pretrained'):
            if key in value:
                value[key] = None
        value = value.values()
    if isinstance(value, (list, tuple, type({}.values()))):
        for member in value:
            _drop_weights(member)
