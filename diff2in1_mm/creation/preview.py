"""The contact sheet of a creation's first samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..store.store import SyntheticStore
from ..utils.pictures import contact_sheet, label_colours, write_picture
from .composing import read_source
from .plan import Batch, source_entry
from .settings import CreationSettings


def write_preview(store: SyntheticStore, dataset: Any, batches: Sequence[Batch], settings: CreationSettings) -> None:
    """Write ``preview.png`` into the store's folder: real image, synthetic image, its labels.

    Args:
        store (SyntheticStore): With the samples; those that are missing are left out.
        dataset: Real data set with ``metainfo``.
        batches (Sequence[Batch]): Of the preview.
        settings (CreationSettings): How source images are resized.
    """
    colours = label_colours(len(dataset.metainfo.get('classes') or ()), dataset.metainfo.get('palette'))
    rows: list[list[np.ndarray]] = []
    titles: list[str] = []
    for sample in sorted(sample for batch in batches for sample in batch):
        record = store.find(sample.id)
        if record is None:
            continue
        entry = source_entry(dataset, sample.source)
        image, annotations = store.read(record)
        real = image if sample.picture else read_source(dataset, sample.source, settings)
        drawn = [store.codecs[task].draw(image, labels, colours, entry) for task, labels in annotations.items()]
        rows.append([real, image, *drawn])
        how = 'unlabelled, as it is' if sample.picture else f'T={record.T}'
        titles.append(f'{record.id}  {how}  {_quality(record.quality)}{record.caption}')
    if rows:
        write_picture(store.root / 'preview.png', contact_sheet(rows, titles))


def _quality(quality: Mapping[str, float]) -> str:
    """How sure the label is, in the words of its task."""
    for name, text in (('confidence', 'confidence {:.2f}  '), ('expected_error', 'expected error {:.0f} degrees  ')):
        if name in quality:
            return text.format(quality[name])
    return ''
