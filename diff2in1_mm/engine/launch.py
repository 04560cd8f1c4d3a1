"""What tools/train.py and tools/test.py share: their options, the config, CPU processes, checks."""

import argparse
import logging
import os
import os.path as osp
from datetime import timedelta
from typing import Any, Optional

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from ..datasets.checks import check_folders
from ..diffusion.precision import cpu_has_bf16
from ..optional import check_config
from ..paths import find_config
from ..synthesis.settings import CreationSettings, creation_of_hook
from .run_checks import check_inputs, warn_of_ended_schedules

__all__ = ['CheckInputsHook', 'add_common_options', 'check_data', 'check_hook_data',
           'check_launched', 'cpu_takes_bf16', 'creation_of', 'find_hook', 'give_preprocessor',
           'join_gloo', 'load_config', 'prepare_processes', 'replace_sync_bn', 'type_name']


# launcher -> what starts its processes, and the variable that it gives them
_STARTERS = dict(pytorch=('torchrun', 'RANK'), slurm=('srun', 'SLURM_PROCID'),
                 mpi=('mpirun', 'OMPI_COMM_WORLD_LOCAL_RANK'))


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that MMSegmentation's and MMDetection's own tools have in common."""
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='override settings: key=value, nested keys with dots '
                        '(optim_wrapper.optimizer.lr=1e-4), items of lists by number '
                        '(custom_hooks.0.warm_up=400), lists as key="[a,b]" without spaces')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how the processes are started; with torchrun: pytorch')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line says of it; ``work_dir`` and ``launcher`` are set.

    A ``data_root`` that is given moves every path of the config that begins with the former one:
    MMEngine writes it into the data sets when it reads the file, and would change the name alone.

    Raises:
        FileNotFoundError: No such config.
        ImportError: It needs a library that is not installed.
        ValueError: A ``data_root`` is given to a config that has none.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = find_config(args.config)
    cfg = Config.fromfile(path)
    options = dict(args.cfg_options or {})
    if 'data_root' in options:
        _move_data(cfg, str(options.pop('data_root')))
    cfg.merge_from_dict(options)
    check_config(cfg)
    give_preprocessor(cfg)
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
        raise ValueError('--cfg-options data_root: the config has no top-level `data_root`; name '
                         'the data set, such as train_dataloader.dataset.data_root')
    former, root = former.rstrip('/'), root.rstrip('/') or '/'

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value + '/').startswith(former + '/'):
            rest = value[len(former):].lstrip('/')
            return osp.join(root, rest) if rest else root
        if type(value) is tuple:
            return tuple(map(moved, value))
        # `dict`'s own methods: those of ConfigDict would import what new-style configs name
        places = dict.items(value) if isinstance(value, dict) else \
            enumerate(value) if isinstance(value, list) else ()
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


def prepare_processes(cfg: Config) -> None:
    """Lets ``torchrun`` start processes on a machine without a GPU.

    MMEngine asks CUDA for a device even under gloo, and gives DDP a device number. SyncBN refuses
    CPUs; batch norm takes its place there.

    Raises:
        ValueError: A launcher that MMEngine has for GPUs only, or that did not start this process.
    """
    if torch.cuda.is_available():
        check_launched(cfg.launcher)
        return
    if cfg.launcher != 'none':
        join_gloo(cfg)
        wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False,
                       find_unused_parameters=cfg.get('find_unused_parameters', False))
        wrapper.update(cfg.get('model_wrapper_cfg') or {}, device_ids=None)
        cfg.model_wrapper_cfg = wrapper
    replaced = replace_sync_bn(cfg.model)
    if replaced or cfg.get('sync_bn') is not None:
        cfg.sync_bn = None
        print_log('SyncBN needs GPUs: each process normalises by its own batch (BN) here.',
                  'current')


def join_gloo(cfg: Config) -> None:
    """Meets the other processes on CPUs, unless that has been done.

    Raises:
        ValueError: A launcher that MMEngine has for GPUs only, or that did not start this process.
    """
    if cfg.launcher != 'pytorch':
        raise ValueError(f'--launcher {cfg.launcher} starts processes on GPUs, and torch sees none '
                         'here: start them by torchrun, with --launcher pytorch')
    check_launched(cfg.launcher)
    if not is_distributed():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=timeout))


def check_launched(launcher: str) -> None:
    """Refuse a process that was not started as ``--launcher`` says.

    Raises:
        ValueError: It was not, and would know neither its number nor the other processes.
    """
    starter, variable = _STARTERS.get(launcher, ('', ''))
    if variable and not is_distributed() and variable not in os.environ:
        raise ValueError(f'--launcher {launcher} is for processes that {starter} starts, and '
                         f'{variable}, which it sets, is missing: start the tool by {starter}, or '
                         'leave --launcher out')


def cpu_takes_bf16() -> bool:
    """Whether bfloat16 pays on this machine's CPU; logs that ``--amp`` is left out where not.

    x86 CPUs without AVX-512 emulate it: a convolution of 64 channels takes ten times as long as in
    float32.
    """
    if cpu_has_bf16():
        return True
    print_log('--amp is left out: this CPU has no bfloat16 units and would take several times as '
              'long as in float32.', 'current', level=logging.WARNING)
    return False


def replace_sync_bn(node: Any) -> bool:
    """Turns every ``type='SyncBN'`` in a config into BN; whether there was one."""
    if isinstance(node, dict):
        found = node.get('type') in ('SyncBN', 'MMSyncBN')
        if found:
            node['type'] = 'BN'
        return any([found, *map(replace_sync_bn, node.values())])
    return isinstance(node, (list, tuple)) and any([replace_sync_bn(item) for item in node])


def check_data(cfg: Config, *loaders: str) -> None:
    """Looks for the folders of data sets before anything is built.

    Args:
        cfg (Config): Of the run.
        loaders (str): Such as 'train_dataloader'.

    Raises:
        FileNotFoundError: Names the folder or file, and the option to correct.
    """
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset')
        if isinstance(dataset, dict):
            check_folders(dataset)


def check_hook_data(cfg: Config) -> None:
    """Whether the training data can serve what ``SelfImprovingHook`` creates.

    Raises:
        ValueError: One sentence that says what to wrap.
    """
    hook = find_hook(cfg, 'SelfImprovingHook')
    if hook is None or hook.get('creation') is None:
        return
    kind = type_name(cfg.train_dataloader.dataset)
    if kind != 'SyntheticMixDataset':
        raise ValueError(
            f'SelfImprovingHook mixes synthetic samples into the training data, but {kind} cannot '
            "serve them: set train_dataloader.dataset = dict(type='SyntheticMixDataset', "
            'dataset=<the present one>), or creation=None in the hook to keep to real data.')


def find_hook(cfg: Config, name: str) -> Optional[dict]:
    """The settings of a custom hook, by its type."""
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, dict) and type_name(hook) == name:
            return hook
    return None


def type_name(node: dict) -> str:
    """Name of the class that a part of a config builds, without scope; '' where it says none.

    Configs of MMEngine's new style hold the class itself.
    """
    kind = node.get('type', '')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


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


@HOOKS.register_module()
class CheckInputsHook(Hook):
    """:func:`check_inputs` for runs without ``SelfImprovingHook``, which does the same.

    Args:
        num_samples (int): How many annotation maps, spread over each data set. Default 64.
    """

    def __init__(self, num_samples: int = 64) -> None:
        self.num_samples = num_samples

    def before_train(self, runner) -> None:
        check_inputs(runner, self.num_samples)
        warn_of_ended_schedules(runner)
