"""The folder of synthetic samples.

::

    STORE/
      store.json           what the store was made for
      images/ID.png        8-bit RGB
      annotations/ID.*     what the task's own tools read, see :mod:`diff2in1_mm.tasks`
      instances.json       for boxes also all samples in one file; panoptic.json for panoptic maps
      records/ID.json      one :class:`SampleRecord`; written last: without it there is no sample
      empty/ID.json        instead of all these: the model found nothing, so nothing is stored

A sample appears wholly or not at all: every file is renamed into place, the record after the rest.
Commits happen under a lock on ``.lock``, which the operating system frees when its holder is
killed; so whoever holds it knows that every temporary file and every image without a record is a
dead writer's.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock
from mmengine.logging import print_log

from ..tasks import build_task
from ..tasks.png import encode_png
from ..utils.atomic_files import is_leftover, write_atomic, writing
from ..utils.errors import MissingFileError, UnusableFileError, UserError, some
from .records import SampleRecord

VERSION = 1
_IMAGES, _ANNOTATIONS, _RECORDS, _EMPTY = 'images', 'annotations', 'records', 'empty'
_NAMED_AT_MOST = 20
_LOCK_TIMEOUT = 600  # seconds; a commit takes milliseconds


class StoreMismatch(UserError):
    """The folder is a store made for something else, or no store; the message says what to do."""


class SyntheticStore:
    """Opens an existing store. Damaged samples are named in one warning, and left out.

    Args:
        root: The folder.
        classes: Class names that the reader expects; None: not checked.
        task: Task that the reader expects; None: not checked.
        warn: Whether damaged samples are logged (data loader workers leave that to others).

    Attributes:
        task, classes, fingerprint, settings: What the store was made for.
        damaged: Sample id -> what is wrong with it.

    Raises:
        FileNotFoundError: No store there.
        StoreMismatch: Made for other classes or another task.
    """

    def __init__(
        self, root: str | Path, classes: Sequence[str] | None = None, task: str | None = None, warn: bool = True
    ) -> None:
        self.root = Path(root)
        made_for = read_purpose(self.root)
        self.task: str = made_for['task']
        self.classes: tuple[str, ...] = tuple(made_for['classes'])
        self.fingerprint: str = made_for['fingerprint']
        self.settings: dict[str, Any] = made_for['settings']
        _check_task_and_classes(self, task, classes)
        self.codec = build_task(self.task, self.classes)
        self.damaged: dict[str, str] = {}
        self._records: dict[str, SampleRecord] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self.refresh(warn)

    @classmethod
    def prepare(
        cls, root: str | Path, task: str, classes: Sequence[str], fingerprint: str, settings: dict[str, Any]
    ) -> 'SyntheticStore':
        """Creates a store, or opens one that the same creation began. Safe in many processes.

        Args:
            root: Folder; new, empty, a store without samples, or a store with this fingerprint.
            task: Kind of annotation: 'segmentation', 'instances', 'panoptic', 'normals', 'depth' or
                'depth_npy'.
            classes: Class names in training order.
            fingerprint: Stands for everything that the samples depend on.
            settings: The same in readable form (JSON types); used to say what differs.

        Raises:
            StoreMismatch: The folder holds something else.
        """
        root = Path(root)
        build_task(task)
        purpose = dict(version=VERSION, task=task, classes=list(classes), fingerprint=fingerprint, settings=settings)
        if root.exists() and not root.is_dir():
            raise StoreMismatch(f'{root} is a file: give a new or empty folder for the store.')
        if root.is_dir() and not (root / 'store.json').exists():
            _refuse_other_content(root)
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            with _lock(root):
                _begin_or_continue(root, purpose)
                for folder in (_IMAGES, _ANNOTATIONS, _RECORDS):
                    (root / folder).mkdir(exist_ok=True)
                _remove_leftovers(root)
        return cls(root)

    @staticmethod
    def sample_id(round: int, source: int, copy: int) -> str:
        """Id of the ``copy``-th sample from image ``source`` in ``round``; sorts in that order."""
        return f'r{round:03d}_s{source:07d}_k{copy:02d}'

    def records(self, round: int | None = None) -> list[SampleRecord]:
        """Intact samples of a round (None: of all), sorted by id, as of the last refresh."""
        return [
            self._records[name] for name in sorted(self._records) if round is None or self._records[name].round == round
        ]

    def __len__(self) -> int:
        return len(self._records)

    def image_path(self, record: SampleRecord) -> str:
        """Path of the sample's image."""
        return str(self.root / record.image)

    def annotation_path(self, record: SampleRecord) -> str:
        """Path of the sample's annotation."""
        return str(self.root / record.annotation)

    def read(self, record: SampleRecord) -> tuple[np.ndarray, Any]:
        """Image, uint8 (H, W, 3) RGB, and annotation as it was given to :meth:`add`."""
        image = cv2.imread(self.image_path(record), cv2.IMREAD_COLOR)
        if image is None:
            raise UnusableFileError(f'{self.image_path(record)} is not a readable image.')
        annotation = self.codec.decode(Path(self.annotation_path(record)))
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), annotation

    def add(self, record: SampleRecord, image: np.ndarray, annotation: Any) -> None:
        """Stores a sample; does nothing if an intact one with this id is there. Safe in many
        processes and threads, and whenever the process is killed.

        Args:
            record: ``image``, ``annotation`` and ``bytes`` are filled in here (in a copy).
            image: uint8 (H, W, 3), RGB.
            annotation: As the task's codec takes it.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f'sample {record.id}: the image must be uint8 of shape (H, W, 3), '
                f'not {image.dtype} of shape {image.shape}.'
            )
        # Encoded outside the lock: that is the slow part.
        files = {
            f'{_ANNOTATIONS}/{record.id}{suffix}': content
            for suffix, content in self.codec.encode(annotation, record, image.shape[:2]).items()
        }
        image_name = f'{_IMAGES}/{record.id}.png'
        files[image_name] = encode_png(image)
        record = replace(
            record,
            image=image_name,
            annotation=f'{_ANNOTATIONS}/{record.id}{self.codec.suffix}',
            bytes={name: len(content) for name, content in files.items()},
        )
        with _lock(self.root):
            present = self._read_intact(record.id)
            if present is None:
                self._record_path(record.id).unlink(missing_ok=True)  # of a damaged sample
                # The annotation first: tools that list images never meet one without its labels.
                for name, content in files.items():
                    write_atomic(self.root / name, content)
                write_atomic(self._record_path(record.id), record.to_json())
        self._records[record.id] = present or record
        self.damaged.pop(record.id, None)

    def add_empty(self, id: str, round: int, checkpoint: str) -> None:
        """Notes that a sample was made and not stored, so that it is not made again. It is none of
        :meth:`records`, and never served. Safe as :meth:`add` is.

        Args:
            id: See :meth:`sample_id`.
            round: Number of the creation round, from 0.
            checkpoint: Fingerprint of the parameters that found nothing.
        """
        content = json.dumps(dict(round=round, checkpoint=checkpoint)).encode()
        with _lock(self.root):
            write_atomic(self.root / _EMPTY / f'{id}.json', content)

    def empty(self, round: int, checkpoint: str) -> set[str]:
        """Ids that :meth:`add_empty` noted, as the disk says now; damaged notes are left out."""
        wanted = dict(round=round, checkpoint=checkpoint)
        return {path.stem for path in (self.root / _EMPTY).glob('*.json') if _try_read_note(path) == wanted}

    def merge(self, round: int | None = None) -> list[str]:
        """Writes the files that hold all samples of a round (None: of all), for tasks whose tools
        want such files; returns their paths."""
        paths = [Path(self.annotation_path(record)) for record in self.records(round)]
        written = []
        for name, content in self.codec.merge(paths).items():
            write_atomic(self.root / name, json.dumps(content).encode())
            written.append(str(self.root / name))
        return written

    def prune(self, keep_round: int) -> int:
        """Removes the samples and notes of all other rounds; returns how many samples. Each goes
        wholly: first its record, then its files."""
        removed = 0
        with _lock(self.root):
            for path in (self.root / _RECORDS).glob('*.json'):
                record = _try_read_record(path)
                if not isinstance(record, SampleRecord) or record.round != keep_round:
                    path.unlink()
                    removed += 1
            for path in (self.root / _EMPTY).glob('*.json'):
                if _try_read_note(path).get('round') != keep_round:
                    path.unlink()
            _remove_leftovers(self.root)
        self.refresh()
        return removed

    def refresh(self, warn: bool = True) -> None:
        """Rereads the folder; records that did not change on disk are not parsed again."""
        records, stamps, damaged = dict[str, SampleRecord](), dict[str, tuple[int, ...]](), dict[str, str]()
        listed = _listing(self.root / _RECORDS)  # before the files: those of a new record are there
        sizes = {
            f'{folder}/{name}': stamp[1]
            for folder in (_IMAGES, _ANNOTATIONS)
            for name, stamp in _listing(self.root / folder).items()
        }
        for name, stamp in listed.items():
            if not name.endswith('.json') or is_leftover(name):
                continue
            id = name[: -len('.json')]
            if self._stamps.get(id) == stamp and id in self._records:
                record: SampleRecord | str = self._records[id]
            else:
                record = _try_read_record(self.root / _RECORDS / name)
            wrong = record if isinstance(record, str) else _damage(record, sizes)
            if isinstance(record, str) or wrong:
                damaged[id] = wrong
            else:
                records[id], stamps[id] = record, stamp
        new = [f'{id} ({damaged[id]})' for id in sorted(damaged) if id not in self.damaged]
        self._records, self._stamps, self.damaged = records, stamps, damaged
        if new and warn:
            print_log(
                f'Synthetic store {self.root}: {len(new)} damaged sample(s) skipped: {some(new, _NAMED_AT_MOST)}.',
                'current',
                level=30,
            )

    def _record_path(self, id: str) -> Path:
        return self.root / _RECORDS / f'{id}.json'

    def _read_intact(self, id: str) -> SampleRecord | None:
        record = _try_read_record(self._record_path(id))
        if isinstance(record, str):
            return None
        sizes = {}
        for name in record.bytes:
            try:
                sizes[name] = os.stat(f'{self.root}/{name}').st_size
            except OSError:  # missing
                continue
        return None if _damage(record, sizes) else record


def _lock(root: Path) -> FileLock:
    return FileLock(root / '.lock', timeout=_LOCK_TIMEOUT, poll_interval=0.002)


def _listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """File name -> (modification time, size, inode); empty for a missing folder."""
    listed = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # another process just renamed or removed it
                    continue
                listed[entry.name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return listed


def _try_read_record(path: Path) -> SampleRecord | str:
    """The record, or what is wrong with it."""
    try:
        record = SampleRecord.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        return f'{_RECORDS}/{path.name}: {error}'
    return record if record.id == path.stem else f'{_RECORDS}/{path.name} is that of {record.id}'


def _try_read_note(path: Path) -> dict[str, Any]:
    """What :meth:`SyntheticStore.add_empty` wrote; empty if that is damaged."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _damage(record: SampleRecord, sizes: dict[str, int]) -> str:
    """What is wrong with the sample's files, '' if nothing."""
    for name, size in record.bytes.items():
        if name not in sizes:
            return f'{name} is missing'
        if sizes[name] != size:
            return f'{name} has {sizes[name]} bytes instead of {size}'
    return ''


def read_purpose(root: Path) -> dict[str, Any]:
    """What a store was made for, without a look at its samples.

    Returns:
        dict: ``version``, ``task``, ``classes``, ``fingerprint`` and ``settings``.

    Raises:
        FileNotFoundError: No store there.
        StoreMismatch: Of another version, or damaged.
    """
    path = root / 'store.json'
    if not path.is_file():
        raise MissingFileError(
            f'{root} is not a synthetic store (it has no store.json): make one '
            'with tools/create_data.py, or correct the path.'
        )
    try:
        purpose = json.loads(path.read_bytes())
        version = purpose['version']
        complete = {'task', 'classes', 'fingerprint', 'settings'} <= set(purpose)
    except (ValueError, KeyError, TypeError):
        version, complete = VERSION, False
    if version != VERSION:
        raise StoreMismatch(
            f'{root} has store format {version}, and this version reads {VERSION}: '
            'use the version of diff2in1_mm that wrote it.'
        )
    if not complete:
        raise StoreMismatch(f'{path} is damaged: restore it, or remove the folder and create anew.')
    return purpose


def _begin_or_continue(root: Path, purpose: dict[str, Any]) -> None:
    path = root / 'store.json'
    if path.exists():
        found = read_purpose(root)
        # `classes` decides what label values mean, whatever the caller put into the fingerprint.
        if all(found[key] == purpose[key] for key in ('fingerprint', 'task', 'classes')):
            return
        if _listing(root / _RECORDS):
            raise StoreMismatch(
                f'{root} already holds samples made otherwise ({_difference(found, purpose)}): '
                'give another folder, or remove this one.'
            )
        # Other settings may find something where these found nothing.
        for note in _listing(root / _EMPTY):
            (root / _EMPTY / note).unlink()
    write_atomic(path, (json.dumps(purpose, indent=1) + '\n').encode())


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Names the settings that differ, at most three."""
    names = sorted({*found['settings'], *wanted['settings']})
    pairs = [('task', found['task'], wanted['task']), ('classes', found['classes'], wanted['classes'])]
    # Through JSON, so that a tuple equals the list that it was written as.
    settings = json.loads(json.dumps(wanted['settings']))
    pairs += [(name, found['settings'].get(name), settings.get(name)) for name in names]
    differing = [f'{name}: there {_short(a)}, here {_short(b)}' for name, a, b in pairs if a != b]
    return '; '.join(differing[:3]) or 'the fingerprint differs'


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def _refuse_other_content(root: Path) -> None:
    content = sorted(path.name for path in root.iterdir() if path.name != '.lock' and not is_leftover(path.name))
    # Another process may have begun the store since; it writes store.json before the folders.
    if content and not (root / 'store.json').exists():
        raise StoreMismatch(
            f'{root} is not a synthetic store but holds other files '
            f'({_short(", ".join(content))}): give a new or empty folder.'
        )


def _remove_leftovers(root: Path) -> None:
    """What killed writers left: temporary files, and files without a record. Needs the lock."""
    known = {path.stem for path in (root / _RECORDS).glob('*.json')}
    for folder in ('.', _IMAGES, _ANNOTATIONS, _RECORDS, _EMPTY):
        for path in (root / folder).glob('*'):  # nothing where there is no folder
            orphan = folder in (_IMAGES, _ANNOTATIONS) and path.stem not in known
            if path.is_file() and (orphan or is_leftover(path.name)):
                path.unlink()


def _check_task_and_classes(store: SyntheticStore, task: str | None, classes: Sequence[str] | None) -> None:
    if task is not None and task != store.task:
        raise StoreMismatch(
            f'the store {store.root} holds samples for {store.task}, but {task} is wanted: give another store.'
        )
    if classes is not None and tuple(classes) != store.classes:
        raise StoreMismatch(
            f'the store {store.root} was made for the classes {_short(list(store.classes))} '
            f'({len(store.classes)}), but the data set has {_short(list(classes))} '
            f'({len(classes)}): give the store made for this data set, or create a new one.'
        )
