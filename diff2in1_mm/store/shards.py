"""Records in files that several writers append to, each to its own.

``records/r000-WRITER.jsonl`` holds the records of one round that one writer made, a line each. Nobody else writes
there, so that it needs no lock: network file systems may pass locks on or not. A line counts when its end is there;
what a killed writer left of a line is never continued.
"""

import contextlib
import errno
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from .records import SampleRecord

__all__ = ['RecordWriter', 'is_shard', 'lines', 'round_of', 'shard_name']

_SHARD = re.compile(r'r(\d+)-[\w-]+\.jsonl')
#: Ending of a shard whose records no longer count, while the files of its samples go.
GONE = '.gone'


def shard_name(round: int, writer: str) -> str:
    """File of a writer's records of a round."""
    return f'r{round:03d}-{writer}.jsonl'


def is_shard(name: str) -> bool:
    """Whether a file name is one of :func:`shard_name`."""
    return bool(_SHARD.fullmatch(name))


def round_of(name: str) -> int:
    """The round of a shard."""
    found = _SHARD.match(name)
    return int(found[1]) if found else -1


def lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file and where they begin; a file whose name does not end in ``.jsonl`` is one line.

    Args:
        path: A shard, or the file of one record.
        start: Byte at which a line begins.
    """
    with open(path, 'rb') as file:
        if not path.name.removesuffix(GONE).endswith('.jsonl'):
            yield 0, file.read()
            return
        file.seek(start)
        for line in file:
            if not line.endswith(b'\n'):  # its writer is at it, or was killed
                return
            yield start, line
            start += len(line)


class RecordWriter:
    """Appends records to files of this process, for any number of its threads.

    Args:
        folder: That of the records.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._process, self._name = os.getpid(), uuid.uuid4().hex[:16]

    def append(self, record: SampleRecord) -> Path:
        """Adds a line, which counts at once; returns the file, which :func:`sync` brings to the disk."""
        line = record.to_json(indent=None)
        if os.getpid() != self._process:  # a fork: the file is the parent's
            self._begin()
        with self._lock:
            path = self._folder / shard_name(record.round, self._name)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                end = os.fstat(file).st_size
                try:
                    if os.write(file, line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                except BaseException:  # no later line may begin in the middle of this one
                    with contextlib.suppress(OSError):
                        os.ftruncate(file, end)
                    raise
            finally:
                os.close(file)
        return path

    def __getstate__(self) -> dict:
        return dict(_folder=self._folder)

    def __setstate__(self, state: dict) -> None:
        self._folder = state['_folder']
        self._begin()


def sync(path: Path) -> None:
    """What was written to a file survives a power cut after this."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
