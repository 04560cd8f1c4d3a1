"""Scripts in processes of their own that need not import again: a server that has read the libraries forks them.

Importing torch, MMSegmentation, MMDetection and diffusers costs ten seconds of a core in each new
interpreter. What must be seen with a fresh one (imports themselves, torchrun, a wheel, the tools of
MMSegmentation and MMDetection) still starts one.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

context = multiprocessing.get_context('forkserver')
context.set_forkserver_preload(['diff2in1_mm', 'mmseg.apis', 'mmdet.apis', 'diffusers', 'torch.distributed.run'])


def environment(**more: str) -> dict:
    """Of a process on CPUs with one thread, so that sums are rounded alike everywhere."""
    return dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PYTHONPATH=str(ROOT), **more)


def _run(argv: list, folder: str, out: str, env: dict) -> None:
    """What ``python *argv`` does, in a process that is forked."""
    import torch

    os.environ.update(env)
    os.chdir(folder)
    with open(out, 'wb', buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    torch.set_num_threads(1)
    gc.freeze()  # see conftest.py
    sys.argv = argv
    sys.path.insert(0, os.path.dirname(argv[0]))
    runpy.run_path(argv[0], run_name='__main__')


class Script:
    """A script that runs in ``folder`` and writes what it says to ``folder / out``."""

    def __init__(self, argv: list, folder: Path, out: str = 'out.txt', **env: str) -> None:
        self.out = Path(folder) / out
        args = ([str(a) for a in argv], str(folder), str(self.out), environment(**env))
        self.process = context.Process(target=_run, args=args)
        self.process.start()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float = 300) -> int | None:
        """Its exit code, which is minus the signal that ended it, or None if it still runs."""
        self.process.join(timeout)
        return self.process.exitcode

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def said(self) -> str:
        """What it wrote so far; the end of it, which holds the error."""
        return self.out.read_text()[-4000:] if self.out.exists() else ''


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def run_in_two_processes(argv: list, folder: Path) -> str:
    """A script with ``--launcher pytorch``, in the environment that torchrun gives to two processes.

    Returns:
        str: What both said.
    """
    meeting = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
    command = [*argv, '--launcher', 'pytorch']
    ranks = [
        Script(command, folder, f'out{rank}.txt', RANK=str(rank), LOCAL_RANK=str(rank), **meeting) for rank in range(2)
    ]
    ends = [rank.wait() for rank in ranks]
    said = '\n'.join(rank.said() for rank in ranks)
    assert ends == [0, 0], said
    return said
