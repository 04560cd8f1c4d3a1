"""The most memory of a process, or of a GPU: of a part of a script, and of a run with the Runner."""

import os.path as osp
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from diff2in1_mm.utils.atomic_files import write_atomic

_FILE = 'peak.txt'


def resident(which: str) -> float:
    """GiB of the process: 'VmRSS' at present, 'VmHWM' at most since :func:`forget`."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 2**20


def forget(device: str) -> float:
    """Begin a new peak; GiB that are taken now."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**30
    Path('/proc/self/clear_refs').write_text('5')
    return resident('VmRSS')


def peak(device: str) -> float:
    """GiB since :func:`forget`."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.startswith('cuda') else resident('VmHWM')


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Writes the most memory of a training, in GiB, to ``peak.txt`` of the work dir."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Begins a new peak."""
        forget(get_device())

    def after_train(self, runner: Runner) -> None:
        """Writes it."""
        write_atomic(osp.join(runner.work_dir, _FILE), f'{peak(get_device()):.2f}\n'.encode())


def peak_of(work_dir: str) -> float:
    """GiB, as the hook wrote them."""
    return float(Path(work_dir, _FILE).read_text())
