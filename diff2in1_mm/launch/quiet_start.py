"""A run that cannot start says one sentence: its log waits until it has, and the folder that it made goes again."""

import io
import os
import os.path as osp
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..utils.quiet_libraries import known_warnings_untold

__all__ = ['QuietStart', 'quiet_start']


class QuietStart:
    """Holds back what a Runner logs to the terminal; its log file has all of it at once."""

    def __init__(self) -> None:
        self.begun = False
        self._held: _HeldBack | None = None

    @contextmanager
    def building(self) -> Iterator[None]:
        """A Runner that is built inside logs its configuration and environment when :meth:`begin` is called.

        MMEngine gives its logger the stream that is the standard output at that moment, for good.
        """
        self._held = _HeldBack(sys.stdout)
        with redirect_stdout(self._held), known_warnings_untold():
            yield

    def begin_with(self, runner: Runner) -> None:
        """Lets the log through when all hooks have let the training begin."""
        runner.register_hook(_BeginHook(self), priority='LOWEST')

    def begin(self) -> None:
        """Lets the log through; a second call changes nothing."""
        self.begun = True
        if self._held is not None:
            self._held.let_through()


@contextmanager
def quiet_start(work_dir: str) -> Iterator[QuietStart]:
    """Where the program ends with a sentence before it has begun, that is all it says and leaves.

    Any other error shows the log, and leaves the folder to be looked at.

    Args:
        work_dir (str): Removed then, if it was not there before.
    """
    start, new = QuietStart(), _missing(work_dir)
    try:
        yield start
    except SystemExit as end:
        if end.code != 2 or start.begun:
            start.begin()
        elif is_main_process():
            _remove(new)
        raise
    except BaseException:
        start.begin()
        raise
    start.begin()


class _BeginHook(Hook):
    def __init__(self, start: QuietStart) -> None:
        self.start = start

    def before_train_epoch(self, runner) -> None:  # also of loops that count iterations, once
        self.start.begin()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:  # loops of one's own
        self.start.begin()


class _HeldBack(io.TextIOBase):
    """Keeps what is written to a stream until it is let through, and then stands for that stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept: list[str] | None = []

    def write(self, text: str) -> int:
        if self._kept is None:
            return self._stream.write(text)
        self._kept.append(text)
        return len(text)

    def flush(self) -> None:
        if self._kept is None:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def let_through(self) -> None:
        kept, self._kept = self._kept, None
        if kept:
            self._stream.write(''.join(kept))
            self._stream.flush()


def _missing(folder: str) -> list[str]:
    """A folder and those above it that are not there, the innermost first."""
    found, place = [], osp.abspath(folder)
    while not osp.lexists(place):
        found.append(place)
        place = osp.dirname(place)
    return found


def _remove(folders: list[str]) -> None:
    """The first with what is in it; those above only if nothing else came into them."""
    for folder in folders[:1]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in folders[1:]:
        with suppress(OSError):
            os.rmdir(folder)
