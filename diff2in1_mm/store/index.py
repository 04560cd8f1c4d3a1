"""What a store holds, found without reading its records: ``index.sqlite``, which all processes share.

The records are the truth, and the index says where they stand. It is brought up to date by reading what was appended to
the files of records since; a missing, damaged or foreign one is made anew. It is never changed in place: a copy is
changed and renamed over it. So readers need no lock, and of two processes that bring it up to date at a time one's work
is lost and done again by the next. A small store has its index in memory.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from ..utils.atomic_files import temporary_name
from .layout import RECORDS, damage
from .listing import RecordGone, Records, places_of, read_line
from .records import SampleRecord
from .shards import is_shard, lines

__all__ = ['SampleIndex']

#: Samples from which on the index is a file; below, each process reads the records in milliseconds.
KEPT_FROM = 1000
#: Up to so many samples their files are looked at whenever the store is. Of larger stores those of each sample are
#: looked at when its record is read first, when its creation goes on, and when it is verified.
LOOKED_AT = 5000
_FILE = 'index.sqlite'
_RECORD = 300  # bytes, at least
_VERSION = 1
_TABLES = f"""
CREATE TABLE files (number INTEGER PRIMARY KEY, name TEXT UNIQUE, read INTEGER, stamp TEXT);
CREATE TABLE samples (id TEXT PRIMARY KEY, round INTEGER, source INTEGER, checkpoint TEXT, bytes INTEGER,
    file INTEGER, start INTEGER, length INTEGER, wrong TEXT) WITHOUT ROWID;
CREATE INDEX wrong ON samples(wrong) WHERE wrong != '';
PRAGMA user_version = {_VERSION};
"""
_Answer = TypeVar('_Answer')
_ID = re.compile(rb'\s*\{\s*"id": "([\w-]+)"')


class _File(NamedTuple):
    """A file of records as the disk has it."""

    name: str
    size: int
    stamp: str


class SampleIndex:
    """Opens nothing before :meth:`refresh`. Safe in several threads, and in forked and spawned processes.

    Args:
        root: The store's folder.
        tasks: Its kinds of labels.
    """

    def __init__(self, root: Path, tasks: Sequence[str]) -> None:
        self.root, self._tasks = root, tuple(tasks)
        self._begin()

    def _begin(self) -> None:
        self._memory: sqlite3.Connection | None = None
        self._guard = threading.RLock()

    def __getstate__(self) -> dict:
        return dict(root=self.root, tasks=self._tasks)  # the rest is found again

    def __setstate__(self, state: dict) -> None:
        self.root, self._tasks = state['root'], state['tasks']
        self._begin()

    # What it is asked.

    def query(self, sql: str, *values: Any) -> list[tuple]:
        """Rows of ``samples`` and ``files``, as of the last refresh by anyone."""
        return self._ask(lambda index: index.execute(sql, values).fetchall())

    def records(self, round: int | None = None, without: Collection[str] = ()) -> Records:
        """Intact samples of a round (None: of all) but for some ids, sorted by id."""
        where, values = ('', ()) if round is None else ('AND round = ?', (round,))
        chosen = f"FROM samples WHERE wrong = '' {where}"

        def rows_of(index: sqlite3.Connection) -> Records:
            rows = index.execute(f'SELECT source, file, start, length, id {chosen} ORDER BY id', values)
            places = places_of(row[:4] for row in rows if row[4] not in without)
            return Records(self.root, self._tasks, dict(index.execute('SELECT number, name FROM files')), places)

        return self._ask(rows_of)

    def _ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        with self._guard:
            try:
                with self._reading() as index:
                    return question(index)
            except sqlite3.DatabaseError:  # none yet, or somebody removed or damaged it
                self.refresh()
                with self._reading() as index:
                    return question(index)

    def find(self, id: str) -> SampleRecord | None:
        """The record of an intact sample."""
        rows = self.query(
            "SELECT name, start, length FROM samples JOIN files ON file = number WHERE id = ? AND wrong = ''", id
        )
        return self._read(*rows[0]) if rows else None

    def known(self, ids: Collection[str]) -> set[str]:
        """Those of some ids that have a record, intact or not."""
        ids, found = list(ids), set[str]()
        for some in (ids[i : i + 500] for i in range(0, len(ids), 500)):  # SQLite takes a thousand values
            found.update(id for (id,) in self.query(f'SELECT id FROM samples WHERE id IN ({_marks(some)})', *some))
        return found

    def _path(self, name: str) -> Path:
        return self.root / RECORDS / name

    def _read(self, name: str, start: int, length: int) -> SampleRecord:
        return SampleRecord.from_json(read_line(self._path(name), start, length), self._tasks)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            yield self._memory
            return
        # `immutable`: no locks, which network file systems may not have
        path = f'file:{quote(str((self.root / _FILE).resolve()))}?mode=ro&immutable=1'
        with contextlib.closing(sqlite3.connect(path, uri=True)) as index:
            yield index

    # How it is brought up to date.

    def refresh(self, look_at_all: bool | None = None) -> None:
        """Takes in what is new, gone or damaged.

        Args:
            look_at_all: Whether to look at the files of all samples, not of new and damaged ones alone; None: if there
                are no more than :data:`LOOKED_AT`.
        """
        with self._guard:
            try:
                self._refresh(look_at_all)
            except sqlite3.DatabaseError:  # damaged, or of another version: the records say everything
                self._start()
                self._refresh(look_at_all)

    def _start(self) -> None:
        """An empty index: of a large store on the disk, where that can be written, so that it takes no memory."""
        self._memory = None
        draft = temporary_name(self.root / _FILE)
        if sum(file.size for file in _listed(self.root / RECORDS).values()) > KEPT_FROM * _RECORD:
            with contextlib.suppress(OSError, sqlite3.OperationalError):
                _created(str(draft)).close()
                _put(draft, self.root / _FILE)
                return
        self._memory = _created(':memory:')

    def _refresh(self, look_at_all: bool | None) -> None:
        if self._memory is None and not (self.root / _FILE).exists():
            self._start()
        with self._reading() as index:
            if index.execute('PRAGMA user_version').fetchone() != (_VERSION,):
                raise sqlite3.DatabaseError('of another version')
            listed = _listed(self.root / RECORDS)
            known = {name: (read, stamp) for name, read, stamp in index.execute('SELECT name, read, stamp FROM files')}
            gone, new = _changes(listed, known)
            new = [(f, start) for f, start in new if not is_shard(f.name) or _has_line(self._path(f.name), start)]
            wrong = self._looked_at(index, gone, look_at_all)
        if not gone and not new and not wrong:
            return
        if self._memory is not None:
            self._apply(self._memory, gone, new, wrong)
            if self._memory.execute('SELECT COUNT(*) FROM samples').fetchone()[0] >= KEPT_FROM:
                self._keep(self._memory)
            return
        draft = temporary_name(self.root / _FILE)
        try:
            shutil.copyfile(self.root / _FILE, draft)
            with contextlib.closing(_opened(str(draft))) as index:
                self._apply(index, gone, new, wrong)
            _put(draft, self.root / _FILE)
        except OSError:  # a disk that is full, or that we may not write
            memory = _opened(':memory:')
            with self._reading() as index:
                index.backup(memory)
            self._apply(memory, gone, new, wrong)
            self._memory = memory
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    def _keep(self, memory: sqlite3.Connection) -> None:
        """From memory to the disk, where that can be written."""
        draft = temporary_name(self.root / _FILE)
        try:
            draft.touch()
            with contextlib.closing(sqlite3.connect(draft)) as index:
                memory.backup(index)
            _put(draft, self.root / _FILE)
        except (OSError, sqlite3.OperationalError):
            return
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        memory.close()
        self._memory = None

    def _looked_at(
        self, index: sqlite3.Connection, gone: Collection[str], look_at_all: bool | None
    ) -> list[tuple[str, str]]:
        """What is wrong with samples now, of those where that changed."""
        if look_at_all is None:
            look_at_all = index.execute('SELECT COUNT(*) FROM samples').fetchone()[0] <= LOOKED_AT
        which = '' if look_at_all else "AND wrong != ''"
        rows = index.execute(
            'SELECT id, name, start, length, wrong FROM samples JOIN files ON file = number '
            f'WHERE round >= 0 {which} ORDER BY file, start'
        )
        changed = []
        for id, name, start, length, wrong in rows:
            if name in gone:
                continue
            try:
                now = damage(self.root, self._read(name, start, length).bytes)
            except RecordGone:  # just now: the next refresh sees that
                continue
            except ValueError as error:  # somebody edited the file in place
                now = f'{RECORDS}/{name}: {error}'
            if now != wrong:
                changed.append((now, id))
        return changed

    def _apply(
        self, index: sqlite3.Connection, gone: Collection[str], new: list[tuple[_File, int]], wrong: list[tuple]
    ) -> None:
        with index:
            numbers = [index.execute('SELECT number FROM files WHERE name = ?', (n,)).fetchone()[0] for n in gone]
            for some in (numbers[i : i + 500] for i in range(0, len(numbers), 500)):
                index.execute(f'DELETE FROM samples WHERE file IN ({_marks(some)})', some)
                index.execute(f'DELETE FROM files WHERE number IN ({_marks(some)})', some)
            index.executemany('UPDATE samples SET wrong = ? WHERE id = ?', wrong)
            for file, start in new:
                self._take_in(index, file, start)

    def _take_in(self, index: sqlite3.Connection, file: _File, start: int) -> None:
        """Reads what is new in a file of records."""
        index.execute(
            'INSERT INTO files (name, read, stamp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING', (file.name, 0, '')
        )
        (number,) = index.execute('SELECT number FROM files WHERE name = ?', (file.name,)).fetchone()
        end = start
        with contextlib.suppress(FileNotFoundError):  # just removed: the next refresh sees that
            for begin, line in lines(self._path(file.name), start):
                end = begin + len(line)
                row = (*self._described(file.name, begin, line), number, begin, len(line))
                self._insert(index, row)
        index.execute('UPDATE files SET read = ?, stamp = ? WHERE number = ?', (end, file.stamp, number))

    def _described(self, name: str, begin: int, line: bytes) -> tuple:
        """id, what is wrong, round, source, checkpoint and bytes of a line."""
        try:
            record = SampleRecord.from_json(line, self._tasks)
            if not is_shard(name) and record.id != name.removesuffix('.json'):
                return name.removesuffix('.json'), f'{RECORDS}/{name} is that of {record.id}', -1, 0, '', 0
        except ValueError as error:
            found = _ID.match(line)
            id = found[1].decode() if found else f'{name}:{begin}'
            id = id if is_shard(name) else name.removesuffix('.json')
            return id, f'{RECORDS}/{name}: {error}', -1, 0, '', 0
        size = sum(record.bytes.values())
        return record.id, damage(self.root, record.bytes), record.round, record.source, record.checkpoint, size

    def _insert(self, index: sqlite3.Connection, row: tuple) -> None:
        id, wrong, *rest = row
        columns = 'id, wrong, round, source, checkpoint, bytes, file, start, length'
        insert = f'INTO samples ({columns}) VALUES ({_marks(row)})'
        if index.execute(f'INSERT {insert} ON CONFLICT DO NOTHING', row).rowcount:
            return
        name, start, length, found = index.execute(
            'SELECT name, start, length, wrong FROM samples JOIN files ON file = number WHERE id = ?', (id,)
        ).fetchone()
        if not found and not wrong:
            # Two writers who did not see each other's lock, or a sample that was made again: whose files are there?
            number, begin, count = rest[-3:]
            (own,) = index.execute('SELECT name FROM files WHERE number = ?', (number,)).fetchone()
            if self._is_of(name, start, length):
                return
            wrong = '' if self._is_of(own, begin, count) else 'its files are of two writers'
        elif wrong and not found:
            return
        index.execute(f'REPLACE {insert}', (id, wrong, *rest))

    def _is_of(self, name: str, start: int, length: int) -> bool:
        """Whether the files of a sample are those that a record was written for."""
        record = self._read(name, start, length)
        try:
            return all(zlib.crc32((self.root / file).read_bytes()) == value for file, value in record.crc32.items())
        except OSError:
            return False


def _listed(folder: Path) -> dict[str, _File]:
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_shard(entry.name) or (entry.name.endswith('.json') and not entry.name.startswith('.')):
                with contextlib.suppress(FileNotFoundError):  # another process just removed it
                    stat = entry.stat()
                    # what grows is told by how it begins, as numbers of files are given again
                    changes = _beginning(entry.path) if is_shard(entry.name) else stat.st_mtime_ns
                    found[entry.name] = _File(entry.name, stat.st_size, f'{stat.st_ino} {changes}')
    return found


def _beginning(path: str) -> int:
    with open(path, 'rb') as file:
        return zlib.crc32(file.read(256))


def _changes(listed: dict[str, _File], known: dict[str, tuple[int, str]]) -> tuple[set[str], list[tuple[_File, int]]]:
    """Files whose rows go, and files of which something is to be read, from where on; those in the order of names."""
    gone = {name for name in known if name not in listed}
    new = []
    for name, file in sorted(listed.items()):
        read, stamp = known.get(name, (0, file.stamp))
        grows = is_shard(name) and file.stamp == stamp and file.size >= read
        if grows and file.size > read:
            new.append((file, read))
        elif not grows and (name not in known or (file.stamp, file.size) != (stamp, read)):
            gone |= {name} & set(known)
            new.append((file, 0))
    return gone, new


def _has_line(path: Path, start: int) -> bool:
    """Whether a whole line begins there; killed writers leave half ones that stay."""
    try:
        return next(lines(path, start), None) is not None
    except FileNotFoundError:
        return False


def _created(where: str) -> sqlite3.Connection:
    index = _opened(where)
    index.executescript(_TABLES)
    return index


def _opened(where: str) -> sqlite3.Connection:
    """In memory, or a draft that nobody else writes and that is of no worth before it is whole."""
    index = sqlite3.connect(where, check_same_thread=False)
    if where != ':memory:':
        index.executescript('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;')
    return index


def _put(draft: Path, path: Path) -> None:
    with open(draft, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(draft, path)


def _marks(values: Sequence) -> str:
    return ', '.join('?' * len(values))
