"""What the store keeps about each sample beside its files."""

from __future__ import annotations  # `bytes` is also the name of a field

import builtins
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_SAFE_ID = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]*')

#: Samples of one image in a round: the numbers in COCO files leave room for so many.
MAX_COPIES = 100


@dataclass
class SampleRecord:
    """One synthetic sample: where it comes from, how it was made, how good its label is.

    Attributes:
        id: Name of the sample's files; letters, digits, ``_`` and ``-``. See
            :meth:`SyntheticStore.sample_id`.
        round: Number of the creation round, from 0.
        source: Index of the source image in the real data set (the one that the mix wraps).
        source_path: Its path, for people; of an unlabelled picture the path of that.
        copy: Which of the samples made from this source in this round, from 0.
        seed: Seed of the sample's noise; with the record and the store's settings it makes the sample
            again.
        T: Level to which the source was noised, 1 to 999; of levels by class the highest; 0: it is an unlabelled
            picture as it is, and ``source`` has lent it a place.
        steps: Denoising steps.
        solver: Name of the solver; '' of an unlabelled picture.
        caption: Text condition.
        checkpoint: Fingerprint of the parameters that labelled it.
        quality: Named figures about the label, for filters. None stands for not-a-number on disk.
        image: File name relative to the store, set by the store.
        annotations: Kind of label -> file name relative to the store, set by the store.
        bytes: File name -> size in bytes, set by the store; tells damage without decoding.
        crc32: File name -> checksum of its content, set by the store; samples of before December 2026 have none.
        label_from: Kind of label -> 'human', where a person has corrected it (see :meth:`Verdicts.applied`); others
            are as the store's settings say.
        classes: Name of a class that the label shows -> share of the pixels, of boxes the number of objects.
        reading: How the data set reads the values of the label map's file, where it changes any:
            ``reduce_zero_label`` and ``label_map``; see :attr:`entry`.
    """

    id: str
    round: int
    source: int
    source_path: str
    copy: int
    seed: int
    T: int
    steps: int
    solver: str
    caption: str
    checkpoint: str
    quality: dict[str, float] = field(default_factory=dict)
    image: str = ''
    annotations: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    crc32: dict[str, int] = field(default_factory=dict)
    label_from: dict[str, str] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SAFE_ID.fullmatch(self.id):
            raise ValueError(f'sample id {self.id!r} cannot be a file name: use letters, digits, "_" and "-" only.')

    @property
    def number(self) -> int:
        """int: Image id in COCO files, which no other sample of the store has, whatever process made it and when."""
        return (self.round * 10_000_000 + self.source) * MAX_COPIES + self.copy + 1

    @property
    def unlabelled(self) -> bool:
        """bool: Whether it is an unlabelled picture as it is, of ``creation.unlabelled``."""
        return self.T == 0

    @property
    def entry(self) -> dict[str, Any]:
        """dict: As much of the source image's annotation entry as reading the label takes, see :meth:`Task.draw`."""
        label_map = self.reading.get('label_map')
        pairs = None if label_map is None else {int(old): int(new) for old, new in label_map.items()}
        return dict(reduce_zero_label=bool(self.reading.get('reduce_zero_label')), label_map=pairs)

    @property
    def by_hand(self) -> tuple[str, ...]:
        """tuple[str, ...]: Kinds of its labels that a person has corrected."""
        return tuple(task for task, maker in self.label_from.items() if maker == 'human')

    def to_json(self, indent: int | None = 1) -> builtins.bytes:
        """UTF-8 JSON that any tool reads (NaN and infinity, which JSON lacks, become null); None: on one line."""
        record = asdict(self)
        record['quality'] = {
            name: float(value) if math.isfinite(value) else None for name, value in self.quality.items()
        }
        return (json.dumps(record, indent=indent, allow_nan=False) + '\n').encode()

    @classmethod
    def from_json(cls, text: builtins.bytes, tasks: Sequence[str]) -> 'SampleRecord':
        """Reads what :meth:`to_json` wrote; unknown keys of newer versions are left out.

        Args:
            text: UTF-8 JSON.
            tasks: Kinds of labels of the store. A record of version 1 has one, and does not name it.

        Raises:
            ValueError: Not such a record.
        """
        values = json.loads(text)  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        if not isinstance(values, dict):
            raise ValueError('not a JSON object')
        if 'annotation' in values:
            values['annotations'] = dict.fromkeys(tasks[:1], values.pop('annotation'))
        for name in _LATER:
            values.setdefault(name, {})
        try:
            record = cls(**{name: _of_kind(name, values[name], *kinds) for name, kinds in _KINDS.items()})
        except (KeyError, TypeError) as error:
            raise ValueError(f'incomplete record ({error})') from None
        named = record.annotations
        if not isinstance(named, dict) or set(named) != set(tasks):
            raise ValueError(f'record without labels for {", ".join(tasks)}')
        if not {record.image, *named.values()} <= set(record.bytes):
            raise ValueError('record without file sizes')
        outside = next(filter(leads_outside, record.bytes), None)
        if outside is not None:  # a store of somebody else's: what it names is read, shown and removed
            raise ValueError(f'record of a file outside the store, {outside!r}')
        record.quality = {name: math.nan if value is None else value for name, value in record.quality.items()}
        return record


def leads_outside(name: str) -> bool:
    """Whether a file name relative to a store leads out of it."""
    return name.startswith('/') or '..' in name.split('/')


_FIGURES: dict[str, Any] = dict(
    quality=(int, float, type(None)),
    annotations=str,
    bytes=int,
    crc32=int,
    label_from=str,
    classes=(int, float),
    reading=object,
)
_LATER = ('crc32', 'label_from', 'classes', 'reading')  # records of older versions lack them
_NAMED = dict(str=str, int=int, dict=dict)
# field -> its kind, and that of the values of a dict
_KINDS = {f.name: (_NAMED[str(f.type).partition('[')[0]], _FIGURES.get(f.name)) for f in fields(SampleRecord)}


def _of_kind(name: str, value: Any, kind: type, inside: Any) -> Any:
    """The value of a field, as damaged or edited files may have others."""
    fits = isinstance(value, kind)
    if fits and inside is not None:
        for one in value.values():
            fits = fits and isinstance(one, inside)
    if not fits:
        raise ValueError(f'{name} is {value!r}')
    return value
