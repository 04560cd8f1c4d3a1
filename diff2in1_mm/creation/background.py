"""Work beside the model's: writing samples, and telling how far a creation is."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mmengine.logging import print_log
from tqdm import tqdm

from ..utils.errors import first_line

_LOG_SECONDS = 60.0


class BackgroundWriter:
    """Runs calls on a few threads; the first error is raised by the next call or at the end.

    Args:
        threads: Number of threads. Default 2.
        waiting: Calls that may wait before :meth:`submit` blocks, so that memory stays bounded.
    """

    def __init__(self, threads: int = 2, waiting: int = 32) -> None:
        self._pool = ThreadPoolExecutor(threads, 'writer')
        self._waiting = waiting
        self._pending: list[Future] = []

    def submit(self, call: Callable, *args: Any) -> None:
        """Runs ``call(*args)`` soon."""
        while len(self._pending) >= self._waiting:
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(call, *args))

    def flush(self) -> None:
        """Waits until all is done."""
        while self._pending:
            self._pending.pop(0).result()

    def __enter__(self) -> 'BackgroundWriter':
        return self

    def __exit__(self, kind, error, trace) -> None:
        # After an error what was submitted is still written: whole samples that count.
        self._pool.shutdown(wait=True)
        if kind is None:
            self.flush()
        for failure in filter(None, (call.exception() for call in self._pending)):
            print_log(f'Beside this a write failed: {first_line(failure)}.', 'current', level=30)


class Progress:
    """A bar on a terminal, a line a minute elsewhere.

    Args:
        total: Steps in all.
        shown: False: say nothing.
    """

    def __init__(self, total: int, shown: bool = True) -> None:
        self.total, self.done, self.shown = total, 0, shown
        self._start = self._told = time.monotonic()
        self._bar = tqdm(total=total, desc='Creating samples', disable=not shown or not sys.stderr.isatty())

    def __enter__(self) -> 'Progress':
        return self

    def advance(self, steps: int) -> None:
        """``steps`` more are done."""
        self.done += steps
        self._bar.update(steps)
        now = time.monotonic()
        if self.shown and self._bar.disable and now - self._told >= _LOG_SECONDS and self.done < self.total:
            left = (now - self._start) / self.done * (self.total - self.done)
            print_log(f'Created {self.done} of {self.total} samples, about {duration(left)} left.', 'current')
            self._told = now

    def __exit__(self, *error) -> None:
        self._bar.close()


def duration(seconds: float) -> str:
    """For people: '40 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'


def size(count: float) -> str:
    """For people: bytes as '3.2 MB' or '1.4 GB'."""
    return f'{count / 1e6:.1f} MB' if count < 1e9 else f'{count / 1e9:.1f} GB'
