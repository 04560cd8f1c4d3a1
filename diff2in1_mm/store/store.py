"""The folder of synthetic samples; :mod:`.layout` tells what lies where.

A sample appears wholly or not at all: every file is written and synced under a temporary name, then renamed into place,
and its record comes after the rest. Renames and records happen under a lock on ``.lock``, which the operating system
frees when its holder is killed. All that rests on it is who wins where two make the same sample: on network file
systems that do not pass locks on, the checksums in the records tell whose files are there. Leftovers of killed writers
are told by their age.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log

from ..tasks import build_task
from ..tasks.png import encode_png
from ..utils.atomic_files import staged, write_atomic, writing
from ..utils.errors import UnusableFileError, UserError, some
from ..utils.file_locks import file_lock
from .index import SampleIndex
from .layout import ANNOTATIONS, IMAGES, RECORDS, Layout, damage, delete_files, read_note, remove_leftovers
from .listing import Records
from .purpose import StoreMismatch, begin_or_continue, check_tasks_and_classes, read_purpose, refuse_other_content
from .records import SampleRecord
from .reviews import FILE as REVIEWS, Reviews, Verdicts
from .shards import GONE, RecordWriter, is_shard, lines, round_of, sync
from .shares import forget_shares

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
        layout: Where its files lie.
        codecs: Kind of label -> its :class:`diff2in1_mm.tasks.Task`.

    Raises:
        FileNotFoundError: No store there.
        StoreMismatch: Made for other classes or other tasks.

    Example:
        >>> store = SyntheticStore('work_dirs/diff2in1_rooms/synthetic')
        >>> record = store.records()[0]
        >>> image, labels = store.read(record)  # uint8 RGB, and what each task's tools read
        >>> record.id, image.shape, labels['segmentation'].shape
        ('r000_s0000000_k00', (12, 16, 3), (12, 16))
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
        self.layout = Layout(self.root, made_for['version'])
        self.classes: tuple[str, ...] = tuple(made_for['classes'])
        self.fingerprint: str = made_for['fingerprint']
        self.settings: dict[str, Any] = made_for['settings']
        check_tasks_and_classes(self.root, made_for, tasks, classes)
        self.codecs = {task: build_task(task, self.classes) for task in self.tasks}
        self._index = SampleIndex(self.root, self.tasks)
        self._writer = RecordWriter(self.root / RECORDS)
        self._named: set[str] = set()
        self._added = False
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
                holds_samples = any(os.scandir(root / RECORDS)) if (root / RECORDS).is_dir() else False
                goes_on = begin_or_continue(root, purpose, holds_samples)
                layout = Layout(root, read_purpose(root)['version'])
                if not goes_on:
                    # Other settings may find something where those of before found nothing.
                    for note in layout.notes():
                        note.unlink()
                    (root / REVIEWS).unlink(missing_ok=True)  # of samples that are gone
                    forget_shares(root)
                for folder in (IMAGES, RECORDS, *(f'{ANNOTATIONS}/{task}' for task in tasks)):
                    (root / folder).mkdir(parents=True, exist_ok=True)
        store = cls(root, warn=False)
        store._named.clear()
        store._index.refresh(look_at_all=True)
        store.refresh()
        remove_leftovers(layout, store._index.known)
        return store

    @staticmethod
    def sample_id(round: int, source: int, copy: int) -> str:
        """Id of the ``copy``-th sample from image ``source`` in ``round``; sorts in that order."""
        return f'r{round:03d}_s{source:07d}_k{copy:02d}'

    def records(self, round: int | None = None) -> Records:
        """Intact samples of a round (None: of all), sorted by id, as of the last refresh or :meth:`add`; read when
        they are asked for."""
        self._take_in_own()
        return self._index.records(round)

    def accepted(self, round: int | None = None, verdicts: Verdicts | None = None) -> Records:
        """:meth:`records` as people have changed them: without those that they rejected, and with the labels that they
        corrected, see :mod:`.reviews`.

        Args:
            round: None: of all rounds.
            verdicts: What people said; None: until now.
        """
        self._take_in_own()
        verdicts = Reviews(self.root).verdicts() if verdicts is None else verdicts
        return self._index.records(round, verdicts.rejected).changed(verdicts.applied)

    def find(self, id: str) -> SampleRecord | None:
        """The record of an intact sample; None where there is none."""
        self._take_in_own()
        return self._index.find(id)

    def ids(self, round: int) -> set[str]:
        """Ids of the intact samples of a round."""
        self._take_in_own()
        return {id for (id,) in self._index.query("SELECT id FROM samples WHERE round = ? AND wrong = ''", round)}

    def rounds(self) -> set[int]:
        """Rounds of which there are intact samples."""
        self._take_in_own()
        return {round for (round,) in self._index.query("SELECT DISTINCT round FROM samples WHERE wrong = ''")}

    def checkpoints(self, round: int) -> dict[str, str]:
        """Fingerprint of parameters that labelled samples of a round -> the first of these samples' ids."""
        self._take_in_own()
        sql = "SELECT checkpoint, MIN(id) FROM samples WHERE round = ? AND wrong = '' GROUP BY checkpoint"
        return dict(self._index.query(sql, round))

    def size(self, round: int) -> int:
        """Bytes of the intact samples of a round."""
        self._take_in_own()
        sql = "SELECT COALESCE(SUM(bytes), 0) FROM samples WHERE round = ? AND wrong = ''"
        return self._index.query(sql, round)[0][0]

    @property
    def damaged(self) -> dict[str, str]:
        """dict[str, str]: Sample id -> what is wrong with it."""
        self._take_in_own()
        return dict(self._index.query("SELECT id, wrong FROM samples WHERE wrong != '' ORDER BY id"))

    def __len__(self) -> int:
        self._take_in_own()
        return self._index.query("SELECT COUNT(*) FROM samples WHERE wrong = ''")[0][0]

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

    def add(self, record: SampleRecord, image: np.ndarray, annotations: Mapping[str, Any]) -> int:
        """Stores a sample; does nothing if an intact one with this id is there. Safe in many
        processes and threads, and whenever the process is killed.

        Args:
            record: ``image``, ``annotations``, ``bytes`` and ``crc32`` are filled in here (in a copy).
            image: uint8 (H, W, 3), RGB.
            annotations: Kind of label, all of :attr:`tasks`, -> the label, as the task takes it.

        Returns:
            int: Bytes of the sample's files; 0 where one was there.

        Raises:
            ValueError: Bad image, or an annotation that is missing or does not fit it.
        """
        record, files = self.encoded(record, image, annotations)
        if self._is_there(record.id):
            return 0
        contents = {self.root / name: content for name, content in files.items()}
        if self.layout.flat:
            contents[self.root / self.layout.record(record.id)] = record.to_json()
        # Written and synced before the lock is taken: that is the slow part.
        with staged(contents) as temporary, _lock(self.root), writing(self.root):
            if self._is_there(record.id):
                return 0
            if self.layout.flat:
                (self.root / self.layout.record(record.id)).unlink(missing_ok=True)  # of a damaged sample
            for path, content in temporary.items():
                os.replace(content, path)
            written = None if self.layout.flat else self._writer.append(record)
        if written is not None:
            sync(written)
        self._added = True
        return sum(record.bytes.values())

    def encoded(
        self, record: SampleRecord, image: np.ndarray, annotations: Mapping[str, Any]
    ) -> tuple[SampleRecord, dict[str, bytes]]:
        """What :meth:`add` stores, of the same arguments: the whole record, and the content of each file."""
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f'sample {record.id}: the image must be uint8 of shape (H, W, 3), '
                f'not {image.dtype} of shape {image.shape}.'
            )
        if set(annotations) != set(self.tasks):
            raise UserError(f'sample {record.id} has labels for {sorted(annotations)}: the store takes {self.tasks}.')
        record = replace(record, image=self.layout.image(record.id))
        files = {
            self.layout.annotation(task, record.id, suffix): content
            for task, codec in self.codecs.items()
            for suffix, content in codec.encode(annotations[task], record, image.shape[:2]).items()
        }
        # The annotations come first: tools that list images never meet one without labels.
        files[record.image] = encode_png(image)
        whole = replace(
            record,
            annotations={t: self.layout.annotation(t, record.id, codec.suffix) for t, codec in self.codecs.items()},
            bytes={name: len(content) for name, content in files.items()},
            crc32={name: zlib.crc32(content) for name, content in files.items()},
        )
        return whole, files

    def add_empty(self, id: str, round: int, checkpoint: str) -> None:
        """Notes that a sample was made and not stored, so that it is not made again. It is none of
        :meth:`records`, and never served. Safe as :meth:`add` is.

        Args:
            id: See :meth:`sample_id`.
            round: Number of the creation round, from 0.
            checkpoint: Fingerprint of the parameters that found nothing.
        """
        content = json.dumps(dict(round=round, checkpoint=checkpoint)).encode()
        write_atomic(self.root / self.layout.note(id), content)

    def empty(self, round: int, checkpoint: str) -> set[str]:
        """Ids that :meth:`add_empty` noted, as the disk says now; damaged notes are left out."""
        return {id for id, *made in self.notes() if made == [round, checkpoint]}

    def notes(self) -> Iterator[tuple[str, int, str]]:
        """Arguments of each :meth:`add_empty`, as :meth:`empty` reads them."""
        for path in self.layout.notes():
            note = read_note(path)
            if set(note) == {'round', 'checkpoint'}:
                yield path.stem, note['round'], note['checkpoint']

    def merge(self, round: int | None = None) -> list[str]:
        """Writes the files that hold all accepted samples of a round (None: of all), for tasks whose tools
        want such files; returns their paths."""
        written = []
        for task, codec in self.codecs.items():
            paths = (self.annotation_paths(record)[task] for record in self.accepted(round))
            for name, content in codec.merge(paths).items():
                write_atomic(self.root / name, content)
                written.append(str(self.root / name))
        return written

    def prune(self, keep_round: int) -> int:
        """Removes the samples and notes of all other rounds; returns how many samples. Each goes
        wholly: first its record, then its files. Goes on where a killed one stopped."""
        self._index.refresh()
        other = "FROM samples JOIN files ON file = number WHERE round != ? AND (name NOT LIKE '%.jsonl' OR round >= 0)"
        ((removed,),) = self._index.query(f'SELECT COUNT(*) {other}', keep_round)
        with _lock(self.root):
            for path in (self.root / RECORDS).glob('*.jsonl'):
                if is_shard(path.name) and round_of(path.name) != keep_round:
                    path.rename(path.with_name(path.name + GONE))
        for path in (self.root / RECORDS).glob(f'*{GONE}'):
            self._delete_samples(path)
        if self.layout.flat:
            for (name,) in self._index.query(f'SELECT name {other}', keep_round):
                self._delete_samples(self.root / RECORDS / name)
        for path in self.layout.notes():
            if read_note(path).get('round') != keep_round:
                path.unlink(missing_ok=True)
        self.refresh()
        remove_leftovers(self.layout, self._index.known)
        return removed

    def _delete_samples(self, path: Path) -> None:
        """Of a file of records that is to go, and the folders that this leaves empty."""
        folders = set[Path]()
        for _, line in lines(path):
            if self.layout.flat:
                path.unlink(missing_ok=True)  # first: without it there is no sample
            with contextlib.suppress(ValueError):  # of a damaged record nothing is known; its files are leftovers
                folders |= delete_files(self.root, SampleRecord.from_json(line, self.tasks))
        path.unlink(missing_ok=True)
        if not self.layout.flat:
            for folder in folders:
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()

    def refresh(self, warn: bool = True) -> None:
        """Looks what was added, removed or damaged since; what did not change is not read again."""
        self._added = False
        self._index.refresh()
        damaged = self.damaged
        new = [f'{id} ({why})' for id, why in damaged.items() if id not in self._named]
        self._named = set(damaged)
        if new and warn:
            print_log(
                f'Synthetic store {self.root}: {len(new)} damaged sample(s) skipped: {some(new, _NAMED_AT_MOST)}.',
                'current',
                level=30,
            )

    def _take_in_own(self) -> None:
        if self._added:
            self._added = False
            self._index.refresh(look_at_all=False)

    def _is_there(self, id: str) -> bool:
        """Whether there is an intact sample, also one that somebody just added."""
        if not (self.root / self.layout.image(id)).exists():
            return False
        self._index.refresh(look_at_all=False)
        record = self._index.find(id)
        return record is not None and not damage(self.root, record.bytes)


def _lock(root: Path) -> AbstractContextManager[None]:
    return file_lock(str(root / '.lock'), _LOCK_TIMEOUT, poll_interval=0.002)
