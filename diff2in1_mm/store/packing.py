"""A store as a few large files on any file system that fsspec knows, and back: WebDataset's tar files of samples."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any

import fsspec

from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError, first_line
from ..utils.values import check_whole
from .layout import EMPTY, HUMAN, RECORDS, damage
from .purpose import VERSION, StoreMismatch
from .records import SampleRecord
from .reviews import FILE as REVIEWS
from .shards import shard_name
from .store import SyntheticStore

__all__ = ['pack', 'unpack']

_PER_FILE = 1000
_INDEX, _NOTES = 'store.json', 'notes.tar'


def pack(store: SyntheticStore, url: str, per_file: int = _PER_FILE) -> int:
    """Writes a store as tar files, each sample as ``ID.image.png``, ``ID.TASK.*`` as they are stored, and ``ID.json``.

    ``store.json`` comes last and names the files: without it they are not whole. ``notes.tar`` has what people said of
    samples, their labels, and which samples were made and not kept.

    Args:
        store: Of the present version.
        url: Folder, or URL that fsspec knows ('s3://bucket/rooms').
        per_file: Samples of a tar file.

    Returns:
        int: Number of samples.

    Raises:
        UserError: The store is of an earlier version or damaged, the place cannot be written, or holds one already.
    """
    check_whole('per_file', per_file)
    if store.layout.flat:
        raise UserError(
            f'{store.root} is a store of before version {VERSION}: write it as a new one first, with `join NEW '
            f'{store.root}` of this tool'
        )
    fs, folder = _place(url)
    try:
        if fs.exists(f'{folder}/{_INDEX}'):
            raise UserError(f'{url} holds a packed store: give another place')
        fs.makedirs(folder, exist_ok=True)
        files: dict[str, int] = {}
        records = iter(store.records())
        while part := list(islice(records, per_file)):
            name = f'samples-{len(files):06d}.tar'
            _write(fs, f'{folder}/{name}', (member for record in part for member in _members(store, record)))
            files[name] = len(part)
        _write(fs, f'{folder}/{_NOTES}', _notes(store.root))
        purpose = dict(
            tasks=list(store.tasks), classes=list(store.classes), fingerprint=store.fingerprint, settings=store.settings
        )
        index = dict(version=VERSION, files=files, purpose=purpose)
        with fs.transaction, fs.open(f'{folder}/{_INDEX}', 'wb') as file:
            file.write(json.dumps(index, indent=1).encode())
    except (OSError, ImportError) as error:
        raise UserError(f'{url} cannot be written ({first_line(error)}): give another place') from error
    return sum(files.values())


def unpack(url: str, root: str | Path) -> SyntheticStore:
    """The store that :func:`pack` wrote, the same to the byte but for the division of its records into files.

    Args:
        url: See :func:`pack`.
        root: Folder of the new store.

    Raises:
        UserError: There is no packed store, it is not whole or damaged, or ``root`` holds samples.
    """
    fs, folder = _place(url)
    index = _index(fs, folder, url)
    store = SyntheticStore.prepare(root, **index['purpose'])
    if len(store):
        raise UserError(f'{root} holds samples: give a new folder for what is unpacked')
    with ExitStack() as stack:  # records wait in files without a name, as a million of them take a gigabyte
        lines: dict[int, Any] = {}
        for name, count in index['files'].items():
            found = 0
            for id, members in groupby(_read(fs, f'{folder}/{name}', url), lambda member: member[0].partition('.')[0]):
                record = _unpacked(store, id, dict(members), url)
                if record.round not in lines:
                    lines[record.round] = stack.enter_context(TemporaryFile(dir=store.root))
                lines[record.round].write(record.to_json(indent=None))
                found += 1
            if found != count:
                raise UserError(f'{url}/{name} holds {found} of {count} samples: fetch it again')
        _unpack_notes(store, _read(fs, f'{folder}/{_NOTES}', url), url)
        for round, records in sorted(lines.items()):  # when all samples are in place: a killed run leaves no record
            records.seek(0)
            write_atomic(store.root / RECORDS / shard_name(round, 'unpacked'), records)
    store.refresh()
    store.merge()
    return store


def _unpack_notes(store: SyntheticStore, notes: Iterable[tuple[str, bytes]], url: str) -> None:
    for name, content in notes:
        path = PurePosixPath(name)
        if path.is_absolute() or '..' in path.parts or not (name == REVIEWS or path.parts[0] in (EMPTY, HUMAN)):
            raise UserError(f'{url}/{_NOTES} holds {name!r}, which is no note of a store: pack the store again')
        write_atomic(store.root / path, content)


def _place(url: str) -> tuple[Any, str]:
    try:
        fs, folder = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:  # an unknown protocol, or one whose package is missing
        raise UserError(f'{url} cannot be reached ({first_line(error)})') from error
    return fs, folder.rstrip('/')


def _index(fs: Any, folder: str, url: str) -> dict[str, Any]:
    try:
        index = json.loads(fs.cat_file(f'{folder}/{_INDEX}'))
        known = index['version'] == VERSION and {*index['purpose']} == {'tasks', 'classes', 'fingerprint', 'settings'}
        known = known and all(PurePosixPath(name).name == name for name in index['files'])
    except FileNotFoundError as error:
        raise UserError(
            f'{url} holds no packed store, or one that was not finished (it has no {_INDEX}): give the place that '
            '`pack` of this tool wrote'
        ) from error
    except OSError as error:
        raise UserError(f'{url} cannot be read ({first_line(error)})') from error
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise StoreMismatch(f'{url}/{_INDEX} is not of a packed store of version {VERSION}: pack it again')
    return index


def _members(store: SyntheticStore, record: SampleRecord) -> Iterator[tuple[str, bytes]]:
    wrong = damage(store.root, record.bytes)
    if wrong:
        raise UserError(
            f'{store.root}: {record.id} is damaged, as {wrong}; `verify` of this tool finds all such samples'
        )
    for name in sorted(record.bytes, key=lambda name: name != record.image):
        path = PurePosixPath(name)
        kind = 'image' if name == record.image else path.parts[1]  # annotations/TASK/...
        yield f'{record.id}.{kind}{path.name.removeprefix(record.id)}', (store.root / name).read_bytes()
    yield f'{record.id}.json', record.to_json(indent=None)


def _notes(root: Path) -> Iterator[tuple[str, bytes]]:
    paths = [path for folder in (EMPTY, HUMAN) for path in sorted((root / folder).rglob('*.*')) if path.is_file()]
    for path in [*paths, *([root / REVIEWS] if (root / REVIEWS).exists() else [])]:
        yield path.relative_to(root).as_posix(), path.read_bytes()


def _write(fs: Any, path: str, members: Iterable[tuple[str, bytes]]) -> None:
    # in a transaction the file is there when it is whole, or not at all
    with fs.transaction, fs.open(path, 'wb') as file, tarfile.open(fileobj=file, mode='w|') as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _read(fs: Any, path: str, url: str) -> Iterator[tuple[str, bytes]]:
    try:
        with fs.open(path, 'rb') as file, tarfile.open(fileobj=file, mode='r|') as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                if content is not None:
                    yield entry.name, content.read()
    except (OSError, tarfile.TarError) as error:
        raise UserError(f'{url}: {PurePosixPath(path).name} cannot be read ({first_line(error)})') from error


def _unpacked(store: SyntheticStore, id: str, members: dict[str, bytes], url: str) -> SampleRecord:
    """Puts the files of a sample where its store has them, by the names that the store gives."""
    try:
        record = SampleRecord.from_json(members.pop(f'{id}.json'), store.tasks)
    except (KeyError, ValueError) as error:
        raise UserError(
            f'{url}: the record of {id} cannot be read ({first_line(error)}): pack the store again'
        ) from error
    files = {}
    for name, content in members.items():
        kind, _, suffix = name.removeprefix(f'{id}.').partition('.')
        place = store.layout.image(id) if kind == 'image' else store.layout.annotation(kind, id, f'.{suffix}')
        files[place] = content
    sums = {name: zlib.crc32(content) for name, content in files.items()}
    if record.id != id or set(files) != set(record.bytes) or (record.crc32 and record.crc32 != sums):
        raise UserError(f'{url}: the files of {id} are not those that its record names: fetch them again')
    for name, content in files.items():
        write_atomic(store.root / name, content)
    return record
