"""Processes on machines without GPUs, and whether they were started as the command line says."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.logging import print_log

from ..diffusion.precision import cpu_has_bf16
from ..utils.errors import UserError, some
from ..utils.models import unwrapped

# What DDP says of parameters whose gradients did not come; numbers are among those that are trained.
_WITHOUT_GRADIENT = re.compile(r'did not receive grad for rank \d+: ([\d ]*\d)')

# launcher -> what starts its processes, and the variable that it gives them
_STARTERS = dict(
    pytorch=('torchrun', 'RANK'), slurm=('srun', 'SLURM_PROCID'), mpi=('mpirun', 'OMPI_COMM_WORLD_LOCAL_RANK')
)


def prepare_processes(cfg: Config) -> None:
    """Lets ``torchrun`` start processes on a machine without a GPU.

    MMEngine asks CUDA for a device even under gloo, and gives DDP a device number. SyncBN refuses
    CPUs; batch norm takes its place there.

    Raises:
        ValueError: A launcher that MMEngine has for GPUs only, or that did not start this process, or what torch cannot
            do, see :func:`check_wrapper`.
    """
    check_wrapper(cfg)
    if torch.cuda.is_available():
        check_launched(cfg.launcher)
        return
    if cfg.launcher != 'none':
        join_gloo(cfg)
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        wrapper.update(cfg.get('model_wrapper_cfg') or {}, device_ids=None)
        cfg.model_wrapper_cfg = wrapper
    replaced = replace_sync_bn(cfg.model)
    if replaced or cfg.get('sync_bn') is not None:
        cfg.sync_bn = None
        print_log('SyncBN needs GPUs: each process normalises by its own batch (BN) here.', 'current')


def check_wrapper(cfg: Config) -> None:
    """Refuse a DDP that takes its graph for static, of gradients that add up over iterations.

    Raises:
        ValueError: Both; torch ends with an assertion of its own in the first backward pass that is not shared.
    """
    static = (cfg.get('model_wrapper_cfg') or {}).get('static_graph')
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if cfg.get('launcher', 'none') != 'none' and static and counts > 1:
        raise UserError(
            f'model_wrapper_cfg.static_graph=True does not go with optim_wrapper.accumulative_counts={counts}, over '
            'which gradients add up: leave it out (find_unused_parameters=True is for weights without a gradient)'
        )


@contextmanager
def unused_weights_named(runner: Any) -> Iterator[None]:
    """Names the weights for whose gradients DDP waits in vain.

    Args:
        runner: That trains inside.

    Raises:
        ValueError: Instead of torch's ``RuntimeError``, which numbers them.
    """
    try:
        yield
    except RuntimeError as error:
        found = _WITHOUT_GRADIENT.search(str(error))
        if found is None:
            raise
        trained = [name for name, parameter in unwrapped(runner).named_parameters() if parameter.requires_grad]
        numbers = [int(number) for number in found[1].split()]
        if max(numbers) >= len(trained):  # some were frozen since, or a wrapper of parts counts otherwise
            raise
        names = some((trained[number] for number in numbers), 1)
        raise UserError(
            f'no loss depends on {names}, for whose gradients the processes wait: set find_unused_parameters = True in '
            'the config, or, where they are of a DiffusionBackbone, None in its out_channels for maps that nobody reads'
        ) from error


def join_gloo(cfg: Config) -> None:
    """Meets the other processes on CPUs, unless that has been done.

    Raises:
        ValueError: A launcher that MMEngine has for GPUs only, or that did not start this process.
    """
    if cfg.launcher != 'pytorch':
        raise UserError(
            f'--launcher {cfg.launcher} starts processes on GPUs, and torch sees none '
            'here: start them by torchrun, with --launcher pytorch'
        )
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
        raise UserError(
            f'--launcher {launcher} is for processes that {starter} starts, and {variable}, which it sets, is missing: '
            f'start the tool by {starter}, or leave --launcher out'
        )


def cpu_takes_bf16() -> bool:
    """Whether bfloat16 pays on this machine's CPU; logs that ``--amp`` is left out where not.

    x86 CPUs without AVX-512 emulate it: a convolution of 64 channels takes ten times as long as in
    float32.
    """
    if cpu_has_bf16():
        return True
    print_log(
        '--amp is left out: this CPU has no bfloat16 units and would take several times as long as in float32.',
        'current',
        level=logging.WARNING,
    )
    return False


def replace_sync_bn(node: Any) -> bool:
    """Turns every ``type='SyncBN'`` in a config into BN; whether there was one."""
    if isinstance(node, dict):
        found = node.get('type') in ('SyncBN', 'MMSyncBN')
        if found:
            node['type'] = 'BN'
        return any([found, *map(replace_sync_bn, node.values())])
    return isinstance(node, (list, tuple)) and any([replace_sync_bn(item) for item in node])
