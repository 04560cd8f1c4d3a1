"""The config that a command works on."""

import argparse
import os
import os.path as osp
from typing import Any

from mmengine.config import Config, ConfigDict

from ..creation.settings import CreationSettings, creation_of_hook
from ..utils.configs import find_hook, type_name
from ..utils.errors import UserError
from ..utils.optional import check_config
from ..utils.quiet_libraries import leave_known_warnings_untold
from ..utils.resources import find_config
from .read_config import merge_options, read_config

__all__ = ['creation_of', 'give_preprocessor', 'load_config']


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line says of it; ``work_dir`` and ``launcher`` are set.

    A ``data_root`` that is given moves every path of the config that begins with the former one:
    MMEngine writes it into the data sets when it reads the file, and would change the name alone.

    What libraries warn of whenever a model is built is not said from then on.

    Raises:
        FileNotFoundError: No such config, or it inherits one that is not there.
        ImportError: It needs a library that is not installed.
        ValueError: It cannot be read, or what the command line says has no place in it.
    """
    leave_known_warnings_untold()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = find_config(args.config)
    cfg = read_config(path)
    options = dict(args.cfg_options or {})
    if 'data_root' in options:
        _move_data(cfg, str(options.pop('data_root')))
    merge_options(cfg, options)
    check_config(cfg)
    give_preprocessor(cfg)
    _batch_windows(cfg)
    _fix_views(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(path))[0])
    return cfg


def _move_data(cfg: Config, root: str) -> None:
    """Puts ``root`` in place of the config's ``data_root``, wherever a path begins with that."""
    former = cfg.get('data_root')
    if former is None and 'train_dataloader' not in cfg:  # of a diffusion model's training
        cfg.data_root = root
        return
    if not isinstance(former, str) or not former.rstrip('/'):
        raise UserError(
            '--cfg-options data_root: the config has no top-level `data_root`; name '
            'the data set, such as train_dataloader.dataset.data_root'
        )
    former, root = former.rstrip('/'), root.rstrip('/') or '/'

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value + '/').startswith(former + '/'):
            rest = value[len(former) :].lstrip('/')
            return osp.join(root, rest) if rest else root
        if type(value) is tuple:
            return tuple(map(moved, value))
        # `dict`'s own methods: those of ConfigDict would import what new-style configs name
        places = dict.items(value) if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in list(places):
            (dict if isinstance(value, dict) else list).__setitem__(value, key, moved(inner))
        return value

    moved(cfg._cfg_dict)


def give_preprocessor(cfg: Config) -> None:
    """Puts a ``data_preprocessor`` beside the model into it, as MMEngine's Runner does.

    Who builds the model without a Runner (creation, the demo) would have none.
    """
    if isinstance(cfg.get('model'), dict) and cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)


def _batch_windows(cfg: Config) -> None:
    """Gives a segmentor on our backbone that is tested by windows the hook that runs these in batches."""
    model = cfg.get('model') or {}
    slides = (model.get('test_cfg') or {}).get('mode') == 'slide'
    ours = slides and type_name(model.get('backbone') or {}) in ('DiffusionBackbone', 'JoinedBackbone')
    if ours and find_hook(cfg, 'BatchedWindowsHook') is None:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), ConfigDict(type='BatchedWindowsHook')]


def _fix_views(cfg: Config) -> None:
    """Gives the training data the views that the backbone's ``feature_cache`` keeps features of."""
    cache = ((cfg.get('model') or {}).get('backbone') or {}).get('feature_cache')
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    views = (cache or {}).get('views', 8)
    if not cache or not views or not isinstance(dataset, dict):
        return
    if type_name(dataset) != 'SyntheticMixDataset':
        dataset = ConfigDict(type='SyntheticMixDataset', ratio=0.0, dataset=dataset)
        cfg.train_dataloader.dataset = dataset
    dataset.setdefault('views', views)


def creation_of(cfg: Config, **given: Any) -> dict:
    """What the config's ``SelfImprovingHook`` creates with, or a command line says instead.

    Args:
        cfg (Config): With that hook or without.
        **given: Of :class:`CreationSettings`; None: not given.

    Returns:
        dict: For :meth:`CreationSettings.from_dict`.
    """
    settings = creation_of_hook(find_hook(cfg, 'SelfImprovingHook') or {})
    given = {name: value for name, value in given.items() if value is not None}
    solver = settings.get('solver', CreationSettings.solver)
    if given.get('solver', solver) != solver:
        settings.pop('steps', None)  # they were meant for the other solver
    if given.get('guidance_scale') == 1:
        settings.pop('negative_prompt', None)  # it was meant for guidance
    return dict(settings, **given)
