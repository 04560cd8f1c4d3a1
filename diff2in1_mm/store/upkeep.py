"""Looking after a store: what it holds, and whether its files are as they were written."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from .layout import damage
from .records import SampleRecord
from .store import SyntheticStore

__all__ = ['class_shares', 'stats', 'verify']


def stats(store: SyntheticStore) -> dict[str, Any]:
    """What a store holds.

    Returns:
        dict: ``samples``, ``damaged``, ``bytes`` (of images and labels) and ``unlabelled``, the samples that are
        pictures as they were; ``rounds``, ``T`` (of those that were made) and ``checkpoints``, each as value -> number
        of samples; ``quality``, name -> mean over the samples that have that figure; ``classes``, see
        :func:`class_shares`.
    """
    counts: dict[str, Counter] = dict(rounds=Counter(), T=Counter(), checkpoints=Counter())
    sums: dict[str, float] = defaultdict(float)
    known, size, unlabelled = Counter[str](), 0, 0
    for record in store.records():
        counts['rounds'][record.round] += 1
        if record.unlabelled:
            unlabelled += 1
        else:
            counts['T'][record.T] += 1
        counts['checkpoints'][record.checkpoint] += 1
        size += sum(record.bytes.values())
        figures = {name: value for name, value in record.quality.items() if value == value}  # not NaN
        known.update(figures.keys())
        for name, value in figures.items():
            sums[name] += value
    return dict(
        samples=len(store),
        damaged=len(store.damaged),
        bytes=size,
        unlabelled=unlabelled,
        **{name: dict(sorted(found.items())) for name, found in counts.items()},
        quality={name: sums[name] / known[name] for name in sorted(known)},
        classes=class_shares(store.records()),
    )


def class_shares(records: Iterable[SampleRecord]) -> dict[str, float]:
    """How much of each class samples show: mean share of the pixels, of boxes the mean number of objects.

    Args:
        records (Iterable[SampleRecord]): Those of versions that did not note classes do not count.

    Returns:
        dict[str, float]: By name, the most first.
    """
    sums, count = Counter[str](), 0
    for record in records:
        sums.update(record.classes)
        count += bool(record.classes)
    return {name: total / count for name, total in sums.most_common()}


def verify(store: SyntheticStore) -> Iterator[tuple[str, str]]:
    """Reads all files of all samples.

    Yields:
        tuple: Id of a sample that is damaged, and what is wrong with it.
    """
    yield from sorted(store.damaged.items())
    for record in store.records():
        wrong = damage(store.root, record.bytes) or _changed(store, record)
        if wrong:
            yield record.id, wrong


def _changed(store: SyntheticStore, record: SampleRecord) -> str:
    """What is wrong with the contents of files, '' if nothing."""
    try:
        for name, checksum in record.crc32.items():
            if zlib.crc32((store.root / name).read_bytes()) != checksum:
                return f'{name} is not what was written'
        if not record.crc32:  # of an earlier version
            store.read(record)
    except (OSError, ValueError) as error:
        return str(error)
    return ''
