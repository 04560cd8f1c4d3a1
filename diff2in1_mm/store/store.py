"""The folder of synthetic samples.

::

    STORE/
      store.json              what the store was made for
      images/ID.png           8-bit RGB
      annotations/TASK/ID.*   what the task's own tools read, for each task, see :mod:`diff2in1_mm.tasks`
      instances.json          for boxes also all samples in one file; panoptic.json for panoptic maps
      records/ID.json         one :class:`SampleRecord`; written last: without it there is no sample
      empty/ID.json           instead of all these: the model found nothing, so nothing is stored
      reviews.jsonl           what people said of samples, see :mod:`.reviews`
      human/TASK/ID-*.*       labels that people have corrected, see :mod:`.corrections`

Stores of version 1, with one task and its files right under ``annotations/``, are read and continued.

A sample appears wholly or not at all: every file is renamed into place, the record after the rest.
Commits happen under a lock on ``.lock``, which the operating system frees when its holder is
killed; so whoever holds it knows that every temporary file and every image without a record is a
dead writer's.
"""

import json
import os
from collections.abc import Mapping, Sequence
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
from ..utils.errors import UnusableFileError, UserError, some
from .purpose import StoreMismatch, begin_or_continue, check_tasks_and_classes, read_purpose, refuse_other_content
from .records import SampleRecord
from .reviews import FILE as REVIEWS, Reviews

_IMAGES, _ANNOTATIONS, _RECORDS, _EMPTY = 'images', 'annotations', 'records', 'empty'
_NAMED_AT_MOST = 20
_LOCK_TIMEOUT = 600  # seconds; a commit takes milliseconds


class SyntheticStore:
    """Opens an existing store. Damaged samples are named in one warning, and left out.

    Args:
        root: The folder.
        classes: Class names that the reader expects; None: not checked.
        tasks: Kinds of labels that the reader expects; None: not checked.
        warn: Whether damaged samples are logged (data loader workers leave that to others).

    Attributes:
        tasks, classes, fingerprint, settings: What the store was made for.
        codecs: Kind of label -> its :class:`diff2in1_mm.tasks.Task`.
        damaged: Sample id -> what is wrong with it.

    Raises:
        FileNotFoundError: No store there.
        StoreMismatch: Made for other classes or other tasks.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        warn: bool = True,
    ) -> None:
        self.root = Path(root)
        made_for = read_purpose(self.root)
        self.tasks: tuple[str, ...] = tuple(made_for['tasks'])
        self._flat = made_for['version'] == 1
        self.classes: tuple[str, ...] = tuple(made_for['classes'])
        self.fingerprint: str = made_for['fingerprint']
        self.settings: dict[str, Any] = made_for['settings']
        check_tasks_and_classes(self.root, made_for, tasks, classes)
        self.codecs = {task: build_task(task, self.classes) for task in self.tasks}
        self.damaged: dict[str, str] = {}
        self._records: dict[str, SampleRecord] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self.refresh(warn)

    @classmethod
    def prepare(
        cls, root: str | Path, tasks: Sequence[str], classes: Sequence[str], fingerprint: str, settings: dict[str, Any]
    ) -> 'SyntheticStore':
        """Creates a store, or opens one that the same creation began. Safe in many processes.

        Args:
            root: Folder; new, empty, a store without samples, or a store with this fingerprint.
            tasks: Kinds of labels, such as 'segmentation', 'instances', 'panoptic', 'normals', 'depth', 'depth_npy'.
            classes: Class names in training order.
            fingerprint: Stands for everything that the samples depend on.
            settings: The same in readable form (JSON types); used to say what differs.

        Raises:
            StoreMismatch: The folder holds something else.
        """
        root = Path(root)
        for task in tasks:
            build_task(task)
        purpose = dict(tasks=list(tasks), classes=list(classes), fingerprint=fingerprint, settings=settings)
        if root.exists() and not root.is_dir():
            raise StoreMismatch(f'{root} is a file: give a new or empty folder for the store.')
        if root.is_dir():
            refuse_other_content(root)
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            with _lock(root):
                if not begin_or_continue(root, purpose, bool(_listing(root / _RECORDS))):
                    # Other settings may find something where those of before found nothing.
                    for note in _listing(root / _EMPTY):
                        (root / _EMPTY / note).unlink()
                    (root / REVIEWS).unlink(missing_ok=True)  # of samples that are gone
                for folder in (_IMAGES, _RECORDS, *(f'{_ANNOTATIONS}/{task}' for task in tasks)):
                    (root / folder).mkdir(parents=True, exist_ok=True)
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

    def find(self, id: str) -> SampleRecord | None:
        """The record of an intact sample, as of the last refresh."""
        return self._records.get(id)

    def accepted(self, round: int | None = None) -> list[SampleRecord]:
        """:meth:`records` as people have changed them: without those that they rejected, and with the labels that they
        corrected, see :mod:`.reviews`."""
        verdicts = Reviews(self.root).verdicts()
        return [verdicts.applied(record) for record in self.records(round) if record.id not in verdicts.rejected]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({str(self.root)!r}, tasks={self.tasks}, samples={len(self)}, '
            f'damaged={len(self.damaged)})'
        )

    def image_path(self, record: SampleRecord) -> str:
        """Path of the sample's image."""
        return str(self.root / record.image)

    def annotation_paths(self, record: SampleRecord) -> dict[str, Path]:
        """Kind of label -> the file that holds the sample's."""
        return {task: self.root / name for task, name in record.annotations.items()}

    def read(self, record: SampleRecord) -> tuple[np.ndarray, dict[str, Any]]:
        """Image, uint8 (H, W, 3) RGB, and annotations as they were given to :meth:`add`."""
        image = cv2.imread(self.image_path(record), cv2.IMREAD_COLOR)
        if image is None:
            raise UnusableFileError(f'{self.image_path(record)} is not a readable image.')
        annotations = {task: self.codecs[task].decode(path) for task, path in self.annotation_paths(record).items()}
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), annotations

    def point_at(self, info: dict[str, Any], record: SampleRecord) -> None:
        """Make a data set's annotation entry load the sample, in place."""
        info['img_path'] = self.image_path(record)
        for task, path in self.annotation_paths(record).items():
            self.codecs[task].point_at(info, path)

    def add(self, record: SampleRecord, image: np.ndarray, annotations: Mapping[str, Any]) -> None:
        """Stores a sample; does nothing if an intact one with this id is there. Safe in many
        processes and threads, and whenever the process is killed.

        Args:
            record: ``image``, ``annotations`` and ``bytes`` are filled in here (in a copy).
            image: uint8 (H, W, 3), RGB.
            annotations: Kind of label, all of :attr:`tasks`, -> the label, as the task takes it.

        Raises:
            ValueError: Bad image, or an annotation that is missing or does not fit it.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f'sample {record.id}: the image must be uint8 of shape (H, W, 3), '
                f'not {image.dtype} of shape {image.shape}.'
            )
        if set(annotations) != set(self.tasks):
            raise UserError(f'sample {record.id} has labels for {sorted(annotations)}: the store takes {self.tasks}.')
        # Encoded outside the lock: that is the slow part.
        files = {
            f'{self._folder(task)}/{record.id}{suffix}': content
            for task, codec in self.codecs.items()
            for suffix, content in codec.encode(annotations[task], record, image.shape[:2]).items()
        }
        image_name = f'{_IMAGES}/{record.id}.png'
        files[image_name] = encode_png(image)
        record = replace(
            record,
            image=image_name,
            annotations={
                task: f'{self._folder(task)}/{record.id}{codec.suffix}' for task, codec in self.codecs.items()
            },
            bytes={name: len(content) for name, content in files.items()},
        )
        with _lock(self.root):
            present = self._read_intact(record.id)
            if present is None:
                self._record_path(record.id).unlink(missing_ok=True)  # of a damaged sample
                # The annotations first: tools that list images never meet one without labels.
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
        """Writes the files that hold all accepted samples of a round (None: of all), for tasks whose tools
        want such files; returns their paths."""
        written = []
        paths = [self.annotation_paths(record) for record in self.accepted(round)]
        for task, codec in self.codecs.items():
            for name, content in codec.merge([path[task] for path in paths]).items():
                write_atomic(self.root / name, json.dumps(content).encode())
                written.append(str(self.root / name))
        return written

    def prune(self, keep_round: int) -> int:
        """Removes the samples and notes of all other rounds; returns how many samples. Each goes
        wholly: first its record, then its files."""
        removed = 0
        with _lock(self.root):
            for path in (self.root / _RECORDS).glob('*.json'):
                record = _try_read_record(path, self.tasks)
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
            for folder in _folders(self.root)
            for name, stamp in _listing(self.root / folder).items()
        }
        for name, stamp in listed.items():
            if not name.endswith('.json') or is_leftover(name):
                continue
            id = name[: -len('.json')]
            if self._stamps.get(id) == stamp and id in self._records:
                record: SampleRecord | str = self._records[id]
            else:
                record = _try_read_record(self.root / _RECORDS / name, self.tasks)
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

    def _folder(self, task: str) -> str:
        """Of a task's files; those of version 1 go on right under ``annotations/``."""
        return _ANNOTATIONS if self._flat else f'{_ANNOTATIONS}/{task}'

    def _record_path(self, id: str) -> Path:
        return self.root / _RECORDS / f'{id}.json'

    def _read_intact(self, id: str) -> SampleRecord | None:
        record = _try_read_record(self._record_path(id), self.tasks)
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


def _folders(root: Path) -> list[str]:
    """Those of samples' files, relative to the store; files of version 1 are right under ``annotations``."""
    tasks = sorted(path.name for path in (root / _ANNOTATIONS).glob('*') if path.is_dir())
    return [_IMAGES, _ANNOTATIONS, *(f'{_ANNOTATIONS}/{task}' for task in tasks)]


def _try_read_record(path: Path, tasks: Sequence[str]) -> SampleRecord | str:
    """The record, or what is wrong with it."""
    try:
        record = SampleRecord.from_json(path.read_bytes(), tasks)
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


def _remove_leftovers(root: Path) -> None:
    """What killed writers left: temporary files, and files without a record. Needs the lock."""
    known = {path.stem for path in (root / _RECORDS).glob('*.json')}
    of_samples = _folders(root)
    for folder in ('.', _RECORDS, _EMPTY, *of_samples):
        for path in (root / folder).glob('*'):  # nothing where there is no folder
            orphan = folder in of_samples and path.stem not in known
            if path.is_file() and (orphan or is_leftover(path.name)):
                path.unlink()
