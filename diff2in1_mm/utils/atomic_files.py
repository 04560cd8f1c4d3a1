"""Writing files so that a reader finds the old content or the new one, never a part."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
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


def write_atomic(path: str | Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file wholly or not at all: temporary name, flush to the disk, rename.

    A writer killed on the way leaves its temporary file behind, see :func:`remove_leftovers`.

    Args:
        path (str | Path): Its folder is made where it is missing.
        content (bytes | Iterable[bytes]): The whole file, or its parts as they come.

    Raises:
        UnusableFileError: There is no space or no permission, see :func:`writing`; the old file is as it was.
    """
    path = Path(path)
    with staged({path: content}) as files, writing(path):
        os.replace(files[path], path)
    _sync_folder(path.parent)


@contextlib.contextmanager
def staged(contents: Mapping[Path, bytes | Iterable[bytes]]) -> Iterator[dict[Path, Path]]:
    """Files on the disk under temporary names beside their own, for the block to rename. What it does not rename goes.

    Args:
        contents (Mapping): Path -> the whole file, or its parts as they come. Folders are made where they are missing.

    Yields:
        dict: Path -> where its content lies.

    Raises:
        UnusableFileError: As :func:`write_atomic`.
    """
    temporary = {path: temporary_name(path) for path in contents}
    try:
        for path, content in contents.items():
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(temporary[path], 'wb') as file:
                    file.writelines([content] if isinstance(content, bytes) else content)
                    file.flush()
                    os.fsync(file.fileno())
        yield temporary
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):  # such as a folder that cannot be entered: the first error counts
                path.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A name beside a file that nobody else takes, and that :func:`is_leftover` knows."""
    return path.with_name(f'.{path.name}.{uuid.uuid4().hex}.tmp')


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
