"""Stores of one kind of label, in tests."""

from pathlib import Path
from typing import Any

import numpy as np

from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore


def read_one(store: SyntheticStore, record: SampleRecord) -> tuple[np.ndarray, Any]:
    """Image and only annotation of a sample."""
    image, annotations = store.read(record)
    (annotation,) = annotations.values()
    return image, annotation


def records_written(root: Path) -> int:
    """How many samples a store holds now, as its files say."""
    return sum(path.read_bytes().count(b'\n') for path in root.glob('records/*.jsonl'))


def lose_record(root: Path, id: str) -> None:
    """As if the writer of a sample had been killed just before the record."""
    for path in root.glob('records/*.jsonl'):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b''.join(line for line in lines if f'"{id}"'.encode() not in line))
