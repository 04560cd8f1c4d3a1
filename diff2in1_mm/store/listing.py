"""Many records as a sequence that reads one when it is asked for it."""

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from ..utils.errors import UnusableFileError
from ..utils.values import spread_over
from .layout import RECORDS
from .records import SampleRecord

__all__ = ['Records', 'RecordGone', 'made_of', 'read_line']

_PLACE = np.dtype([('source', np.int32), ('file', np.int32), ('start', np.int64), ('length', np.int32)])


class RecordGone(UnusableFileError):
    """The file of a record was removed, as its round was."""


def made_of(records: Sequence[SampleRecord], most: int = 10_000) -> list[SampleRecord]:
    """Those that were made, of records that are spread over all: without unlabelled pictures as they are.

    Args:
        records (Sequence[SampleRecord]): Of a round.
        most (int): Records to read; a million take minutes.
    """
    looked_at = (records[place] for place in spread_over(len(records), most))
    return [record for record in looked_at if not record.unlabelled]


def places_of(rows: Iterable[tuple]) -> np.ndarray:
    """Where records stand, of rows of their source, number of file, first byte and length."""
    return np.fromiter(rows, _PLACE)


class Records(Sequence[SampleRecord]):
    """Twenty bytes a record, whatever it says. Goes into other processes as it is.

    The record that was read last is kept, since whoever loads a sample asks for its record several times.

    Args:
        root: The store's folder.
        tasks: Its kinds of labels.
        files: Number -> name of a file of records.
        places: See :func:`places_of`.
        change: Of each record when it is read; None: nothing.
    """

    def __init__(
        self,
        root: Path,
        tasks: Sequence[str],
        files: Mapping[int, str],
        places: np.ndarray,
        change: Callable[[SampleRecord], SampleRecord] | None = None,
    ) -> None:
        self._root, self._tasks, self._files, self._places, self._change = root, tasks, files, places, change
        self._last: tuple[int, SampleRecord] | None = None

    def changed(self, change: Callable[[SampleRecord], SampleRecord]) -> 'Records':
        """The same records, each as a function changes it when it is read."""
        return Records(self._root, self._tasks, self._files, self._places, change)

    @property
    def sources(self) -> np.ndarray:
        """np.ndarray: Index of each record's source image, int32 (records,)."""
        return self._places['source']

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SampleRecord: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray) -> 'Records': ...

    def __getitem__(self, index: int | slice | np.ndarray) -> 'SampleRecord | Records':
        """One record; of a slice, or an array of numbers, these records.

        Raises:
            RecordGone: It was removed since.
            UnusableFileError: Its file was changed in place.
        """
        if isinstance(index, slice | np.ndarray):
            return Records(self._root, self._tasks, self._files, self._places[index], self._change)
        last = self._last  # another thread may put a new one there
        if last is not None and last[0] == index:
            return last[1]
        _, file, start, length = self._places[index].item()
        path = self._root / RECORDS / self._files[file]
        try:
            record = SampleRecord.from_json(read_line(path, start, length), self._tasks)
            record = record if self._change is None else self._change(record)
        except ValueError as error:
            raise UnusableFileError(f'{path} was changed at byte {start} ({error}): restore it.') from error
        self._last = index, record
        return record

    def __iter__(self) -> Iterator[SampleRecord]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """As lists: reads all."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    def __repr__(self) -> str:
        return f'<{len(self)} records of {self._root}>'


def read_line(path: Path, start: int, length: int) -> bytes:
    """A part of a file.

    Raises:
        RecordGone: There is no such file.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise RecordGone(f'{path} was removed by another process: open the store again.') from None
    try:
        return os.pread(file, length, start)
    finally:
        os.close(file)
