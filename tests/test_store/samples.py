"""Samples and a purpose for stores in tests."""

import numpy as np

from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore

CLASSES = ('road', 'sky', 'tree')
PURPOSE = dict(tasks=['segmentation'], classes=CLASSES, fingerprint='abc', settings={'T': 400})


def make_record(source=0, round=0, copy=0, **changes):
    return SampleRecord(
        **{
            **dict(
                id=SyntheticStore.sample_id(round, source, copy),
                round=round,
                source=source,
                source_path=f'{source}.jpg',
                copy=copy,
                seed=2**62 + source,
                T=400,
                steps=20,
                solver='ddim',
                caption='a photo',
                checkpoint='c0',
                quality={'confidence': 0.9},
            ),
            **changes,
        }
    )


def make_sample(value, height=12, width=16):
    """Noise, so that samples differ in bytes; the value stands in the first pixels."""
    rng = np.random.RandomState(value)
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    annotation = rng.randint(0, 3, (height, width)).astype(np.uint8)
    image[0, 0], annotation[0, 0] = value % 256, value % 3
    return image, dict(segmentation=annotation)


def fill(store, sources, round=0):
    for source in sources:
        store.add(make_record(source, round), *make_sample(source))
