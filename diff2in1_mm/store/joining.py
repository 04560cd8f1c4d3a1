"""One store of several that were made apart, such as the shares of a job array."""

import errno
import heapq
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from ..utils.atomic_files import write_atomic, writing
from ..utils.errors import UserError, some
from .layout import HUMAN, RECORDS, damage
from .purpose import StoreMismatch
from .records import SampleRecord
from .reviews import FILE as REVIEWS
from .shards import shard_name
from .shares import missing_shares, note_share, shares_of
from .store import SyntheticStore

__all__ = ['join']


def join(root: str | Path, parts: Sequence[str | Path], incomplete: bool = False) -> SyntheticStore:
    """Puts the samples of several stores into a new one; files are hard links where the file system has them.

    The result is the same to the byte however its samples were shared out, and if one process made them all. A killed
    join leaves no sample; done again it goes on.

    Args:
        root: Folder of the new store.
        parts: Those to be joined; of a sample that several have, the first one's counts. None: ``root`` is whole
            already, as of processes that wrote into it together, and only lacks the files that hold all samples.
        incomplete: Go on where a share of the job array that made them is missing or was not finished. Default False.

    Raises:
        StoreMismatch: They were made for different things.
        UserError: ``root`` holds samples, or a share is missing.
    """
    if not incomplete:
        _check_shares(parts or [root])
    if not parts:
        store = SyntheticStore(root)
        store.merge()
        return store
    opened = [SyntheticStore(part) for part in parts]
    first = opened[0]
    for other in opened[1:]:
        if (other.fingerprint, other.tasks, other.classes) != (first.fingerprint, first.tasks, first.classes):
            raise StoreMismatch(f'{first.root} and {other.root} were made otherwise: join the parts of one creation.')
    joined = SyntheticStore.prepare(root, first.tasks, first.classes, first.fingerprint, first.settings)
    if len(joined):
        raise UserError(f'{root} holds samples: give a new folder for what is joined.')
    for round in sorted(set().union(*(part.rounds() for part in opened))):
        path = joined.root / RECORDS / shard_name(round, 'joined')
        # whole when all samples are in place: a killed join leaves no record
        write_atomic(path, _put_in(joined, opened, round))
    joined.refresh()
    whole = not missing_shares(parts)[0]
    for part in opened:
        _copy_notes(joined, part)
        if not whole:  # so that the next join knows what there is
            _copy_shares(joined, part)
        _copy_reviews(joined, part)
        if (part.root / 'preview.png').exists() and not (joined.root / 'preview.png').exists():
            shutil.copyfile(part.root / 'preview.png', joined.root / 'preview.png')
    joined.merge()
    return joined


def _check_shares(roots: Sequence[str | Path]) -> None:
    """Raises UserError where a share of a job array is missing or was not finished."""
    missing, count = missing_shares(roots)
    if missing:
        shares, are = ('share', 'is') if len(missing) == 1 else ('shares', 'are')
        raise UserError(
            f'{shares} {some(missing, 10)} of {count} {are} missing or not finished (they count from 0): name the '
            f'folders of all, or run tools/create_data.py with --shard {missing[0]}/{count} again; with --incomplete '
            'what is there is joined'
        )


def _put_in(joined: SyntheticStore, parts: Sequence[SyntheticStore], round: int) -> Iterator[bytes]:
    """Places the files of a round's samples, and gives their records."""
    last = ''
    for id, place, record in heapq.merge(*(_numbered(part, place, round) for place, part in enumerate(parts))):
        if id == last:
            continue
        last, part = id, parts[place]
        wrong = damage(part.root, record.bytes)
        if wrong:
            print_log(f'{part.root}: {id} is left out, as {wrong}.', 'current', level=30)
        elif part.layout.flat:
            record, files = joined.encoded(record, *part.read(record))
            for name, content in files.items():
                write_atomic(joined.root / name, content)
            yield record.to_json(indent=None)
        else:
            for name in record.bytes:
                _link(part.root / name, joined.root / name)
            yield record.to_json(indent=None)


def _numbered(part: SyntheticStore, place: int, round: int) -> Iterator[tuple[str, int, SampleRecord]]:
    """Of no two parts the ids and places are the same, so that records are never compared."""
    return ((record.id, place, record) for record in part.records(round))


def _copy_notes(joined: SyntheticStore, part: SyntheticStore) -> None:
    for id, round, checkpoint in part.notes():
        if joined.find(id) is None:
            joined.add_empty(id, round, checkpoint)


def _copy_shares(joined: SyntheticStore, part: SyntheticStore) -> None:
    for (share, of), done in shares_of(part.root).items():
        if done:
            note_share(joined.root, share, of, done)


def _copy_reviews(joined: SyntheticStore, part: SyntheticStore) -> None:
    """What people said of samples, and the labels that they corrected."""
    for path in (part.root / HUMAN).rglob('*.*'):
        _link(path, joined.root / path.relative_to(part.root))
    if (part.root / REVIEWS).exists():
        before = joined.root / REVIEWS
        whole = (before.read_bytes() if before.exists() else b'') + (part.root / REVIEWS).read_bytes()
        write_atomic(before, whole)


def _link(source: Path, target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # of a killed join
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            shutil.copyfile(source, target)
