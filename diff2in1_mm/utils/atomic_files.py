"""Writing files so that a reader finds the old content or the new one, never a part."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from .errors import UnusableFileError, why_not_written

_LEFTOVER = re.compile(r'\..+\.[0-9a-f]{32}\.tmp')


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Names the path where the system refuses a write inside: a full disk, a quota, missing permission.

    Args:
        path (str | Path): What is written; the sentence names the system's own path where it tells one.

    Raises:
        UnusableFileError: Instead of the system's ``OSError`` of these kinds; others pass.
    """
    try:
        yield
    except OSError as error:
        sentence = why_not_written(error, path)
        if sentence is None:
            raise
        raise UnusableFileError(sentence) from error


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file wholly or not at all: temporary name, flush to the disk, rename.

    A writer killed on the way leaves its temporary file behind, see :func:`remove_leftovers`.

    Args:
        path (str | Path): Its folder is made where it is missing.
        content (bytes): The whole file.

    Raises:
        UnusableFileError: There is no space or no permission, see :func:`writing`; the old file is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.tmp')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # such as a folder that cannot be entered: the first error counts
                temporary.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Whether this file name is one of :func:`write_atomic`'s temporary ones."""
    return bool(_LEFTOVER.fullmatch(name))


def remove_leftovers(folder: str | Path) -> list[str]:
    """Remove temporary files that killed processes left in a folder, and give their names."""
    if not os.path.isdir(folder):
        return []
    leftovers = sorted(filter(is_leftover, os.listdir(folder)))
    for name in leftovers:
        (Path(folder) / name).unlink(missing_ok=True)
    return leftovers
