"""Tensors that take long to make, kept in files: other processes and later runs find them again."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .atomic_files import is_leftover, write_atomic
from .errors import UnusableFileError

Tensors = Mapping[str, Tensor]

_SUFFIX = '.safetensors'
_ABANDONED = 3600  # seconds after which a temporary file is of a killed process
_LEFT = 0.9  # of the limit, after making room
_SEEN = 0.02  # of the limit: what a process writes between two looks at what all have written


def cache_folder() -> Path | None:
    """Where this user's caches are: ``DIFF2IN1_CACHE``, or ``diff2in1_mm`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Returns:
        Path | None: None where ``DIFF2IN1_CACHE`` is set to nothing: no caches.
    """
    own = os.environ.get('DIFF2IN1_CACHE')
    if own is not None:
        return Path(own).expanduser() if own else None
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'diff2in1_mm'


class KeptOnDisk:
    """Named tensors by key, a file for each key, for any number of processes at once.

    Files are written to a temporary name and renamed, so that a killed process leaves a whole file or none; nothing is
    locked, which holds on network file systems too, and two processes that make the same write the same. Reading maps
    a file into memory. Where there is no room or no permission, it says so once, and makes without keeping.

    Args:
        folder (Path): Made with the first file.
        most (float): Bytes in all files; those that were read longest ago make room. So many processes at once may go
            beyond it by a fiftieth each.
        what (str): They are called in messages, such as 'text embeddings'.

    Attributes:
        asked (int): Keys that :meth:`get` was asked for so far, each as often as it was.
        made (int): Those of them that were not there.
    """

    def __init__(self, folder: Path, most: float, what: str) -> None:
        self.folder, self.most, self.what = Path(folder), most, what
        self.asked = self.made = 0
        self._used = 0
        self._trusted = 0  # bytes to write before it is measured again, as other processes write too
        self._told: set[str] = set()
        self._writes = True

    def get(self, keys: Sequence[str], make: Callable[[list[str]], Iterable[Tensors]]) -> list[Tensors]:
        """Tensors for each key; ``make`` gives those of all keys that are not there, in order.

        Args:
            keys (Sequence[str]): Hexadecimal digits, at least three.
            make (Callable): Called with distinct keys, and only where some are missing.

        Returns:
            list[Mapping[str, Tensor]]: On the CPU, not to be written to.
        """
        found = {key: self.read(key) for key in dict.fromkeys(keys)}
        missing = [key for key, tensors in found.items() if tensors is None]
        self.asked += len(keys)
        self.made += len(missing)
        if missing:
            for key, tensors in zip(missing, make(missing)):
                self.write(key, tensors)
                found[key] = tensors
        return [tensors for tensors in (found[key] for key in keys) if tensors is not None]

    def path(self, key: str) -> Path:
        """The file of a key; folders fan out, as some file systems are slow with many files in one."""
        return self.folder / key[:2] / (key + _SUFFIX)

    def read(self, key: str) -> Tensors | None:
        """What is kept of a key; None where there is nothing, or a damaged file, which is removed."""
        path = self.path(key)
        try:
            tensors = load_file(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # of a folder that this user may only read
            os.utime(path)
        return tensors

    def write(self, key: str, tensors: Tensors) -> None:
        """Keeps tensors, or says once why they cannot be kept."""
        if not self._writes:
            return
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        try:
            if self._trusted <= 0:
                self._used, self._trusted = sum(size for _, size, _ in self._files()), int(self.most * _SEEN)
            if self._used + len(content) > self.most:
                self._make_room(len(content))
            if self._used + len(content) <= self.most:
                write_atomic(self.path(key), content)
                self._used += len(content)
                self._trusted -= len(content)
        except UnusableFileError as error:
            self._writes = False
            self._tell(f'{self.what} are not kept any longer: {error}')

    def _make_room(self, wanted: int) -> None:
        """Removes what was read longest ago."""
        self._tell(
            f'{self.folder} holds {self.most / 1e9:.3g} GB of {self.what}, which is its limit: those that were used '
            'longest ago make room and are made again when they are needed.'
        )
        files = sorted(self._files())  # measured anew, as other processes write too
        self._used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._used + wanted <= _LEFT * self.most:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._used -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of all files; removes what killed processes left."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):  # removed by another process
                    status = path.stat()
                    if name.endswith(_SUFFIX):
                        yield status.st_mtime, status.st_size, path
                    elif is_leftover(name) and time.time() - status.st_mtime > _ABANDONED:
                        path.unlink()

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            print_log(sentence, 'current', level=logging.WARNING)
            self._told.add(sentence)
