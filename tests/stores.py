"""Stores of one kind of label, in tests."""

from typing import Any

import numpy as np

from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore


def read_one(store: SyntheticStore, record: SampleRecord) -> tuple[np.ndarray, Any]:
    """Image and only annotation of a sample."""
    image, annotations = store.read(record)
    (annotation,) = annotations.values()
    return image, annotation
