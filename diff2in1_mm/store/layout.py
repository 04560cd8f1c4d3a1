"""Where the files of a store lie, and what dead writers left of them.

::

    STORE/
      store.json                  what the store was made for
      images/FOLDER/ID.png        8-bit RGB
      annotations/TASK/FOLDER/ID.*  what the task's own tools read, for each task, see :mod:`diff2in1_mm.tasks`
      instances.json              for boxes also all samples in one file; panoptic.json for panoptic maps
      records/rROUND-WRITER.jsonl  one :class:`SampleRecord` a line, each writer in a file of its own; written last:
                                  without it there is no sample
      empty/FOLDER/ID.json        instead of all these: the model found nothing, so nothing is stored
      reviews.jsonl               what people said of samples, see :mod:`.reviews`
      human/TASK/ID-*.*           labels that people have corrected, see :mod:`.corrections`
      shares/I-of-N.json          of a job array, see :mod:`.shares`
      index.sqlite                where which record stands; made anew when it is missing

``FOLDER`` holds the samples of a hundred source images in one round. Stores of version 2, with all files of a kind in
one folder and a file for each record, and of version 1, with one task and its files right under ``annotations/``, are
read and continued as they are.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..utils.atomic_files import is_leftover
from .records import SampleRecord

__all__ = ['Layout', 'damage', 'delete_files', 'read_note', 'remove_leftovers']

IMAGES, ANNOTATIONS, RECORDS, EMPTY, HUMAN = 'images', 'annotations', 'records', 'empty', 'human'
#: Seconds. No living writer takes so long from a sample's first file to its record; older files without one are a dead
#: writer's. Locks could tell sooner, but not all network file systems pass them on.
DEAD_AFTER = 3600.0
# 'r000_s00000' of 'r000_s0000012_k00': a folder holds samples of 100 source images of one round, at most 10,000
_FOLDER = 11


class Layout:
    """Names of files relative to the store.

    Args:
        root: The store's folder.
        version: Of the store.
    """

    def __init__(self, root: Path, version: int) -> None:
        self.root = root
        #: Whether each record is a file of its own, and the files of a kind lie in one folder.
        self.flat = version < 3
        self._one_kind = version == 1

    def image(self, id: str) -> str:
        """Of a sample's image."""
        return self._name(IMAGES, id, '.png')

    def annotation(self, task: str, id: str, suffix: str) -> str:
        """Of a sample's file of a task; those of version 1 go on right under ``annotations/``."""
        return self._name(ANNOTATIONS if self._one_kind else f'{ANNOTATIONS}/{task}', id, suffix)

    def record(self, id: str) -> str:
        """Of the record of a sample in a flat store."""
        return f'{RECORDS}/{id}.json'

    def note(self, id: str) -> str:
        """Of what is noted of a sample that was made and not stored."""
        return self._name(EMPTY, id, '.json')

    def _name(self, folder: str, id: str, suffix: str) -> str:
        return f'{folder}/{id}{suffix}' if self.flat else f'{folder}/{id[:_FOLDER]}/{id}{suffix}'

    def notes(self) -> Iterator[Path]:
        """All files of :meth:`note`."""
        return (self.root / EMPTY).rglob('*.json')

    def folders(self) -> Iterator[Path]:
        """All that hold files of samples."""
        for kind in (IMAGES, ANNOTATIONS):
            for folder, _, _ in os.walk(self.root / kind):
                yield Path(folder)


def damage(root: Path, sizes: Mapping[str, int]) -> str:
    """What is wrong with a sample's files, '' if nothing.

    Args:
        root: The store's folder.
        sizes: File name -> bytes, as its record says.
    """
    for name, size in sizes.items():
        try:
            found = os.stat(f'{root}/{name}').st_size
        except OSError:
            return f'{name} is missing'
        if found != size:
            return f'{name} has {found} bytes instead of {size}'
    return ''


def read_note(path: Path) -> dict[str, Any]:
    """What is noted of a sample that was made and not stored: its round and the checkpoint; empty if damaged."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def delete_files(root: Path, record: SampleRecord) -> set[Path]:
    """Removes a sample's files; returns the folders that they lay in."""
    for name in record.bytes:
        (root / name).unlink(missing_ok=True)
    return {(root / name).parent for name in record.bytes}


def remove_leftovers(layout: Layout, known: Callable[[Collection[str]], Collection[str]]) -> None:
    """Removes what killed writers left: temporary files, and files without a record.

    Args:
        layout: Of the store.
        known: Gives those of some ids that have a record.
    """
    before = time.time() - DEAD_AFTER
    folders = [layout.root, *(Path(walked[0]) for kind in (RECORDS, EMPTY) for walked in os.walk(layout.root / kind))]
    for folder in folders:
        _remove_old(folder, filter(is_leftover, os.listdir(folder)), before)
    for folder in layout.folders():
        ids = {name: name.partition('.')[0] for name in os.listdir(folder)}  # '' of a temporary file
        with_record = known(set(ids.values()))
        left = [name for name, id in ids.items() if id not in with_record]
        _remove_old(folder, [name for name in left if is_leftover(name) or not name.startswith('.')], before)


def _remove_old(folder: Path, names: Iterable[str], before: float) -> None:
    for path in (folder / name for name in names):
        with contextlib.suppress(FileNotFoundError):  # who wrote it just renamed it, or somebody else removes it too
            if path.is_file() and path.stat().st_mtime <= before:
                path.unlink()
