"""Tiny segmentation data sets on the disk, and stores for them."""

from pathlib import Path

import cv2
import numpy as np

from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore

CLASSES = ('road', 'sky', 'tree')
LOADING = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]
PIPELINE = LOADING + [dict(type='mmseg.PackSegInputs')]


def write_pair(root: Path, name: str, value: int, labels: np.ndarray, size=(6, 8)) -> None:
    """An image of one grey value, and its label map."""
    for folder in ('images', 'annotations'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / f'images/{name}.png'), np.full((*size, 3), value, np.uint8))
    cv2.imwrite(str(root / f'annotations/{name}.png'), labels.astype(np.uint8))


def make_folder(root: Path, number: int, offset: int = 0) -> Path:
    """Real images: grey value ``offset + index``, label 0 everywhere."""
    for index in range(number):
        write_pair(root, f'{index:02d}', offset + index, np.zeros((6, 8)))
    return root


def base_config(root: Path, **options) -> dict:
    """Config of MMSegmentation's BaseSegDataset on such a folder."""
    return dict(
        **{
            **dict(
                type='mmseg.BaseSegDataset',
                data_root=str(root),
                img_suffix='.png',
                data_prefix=dict(img_path='images', seg_map_path='annotations'),
                metainfo=dict(classes=CLASSES),
                pipeline=PIPELINE,
            ),
            **options,
        }
    )


def open_store(root: Path, classes=CLASSES) -> SyntheticStore:
    """A store, new or continued."""
    return SyntheticStore.prepare(root, ['segmentation'], classes, 'f', {})


def add_samples(store: SyntheticStore, sources, round=0, copy=0, labels=None) -> list:
    """Synthetic images: grey value 100 + source + 10 * copy + 50 * round, label 1 everywhere."""
    ids = []
    for source in sources:
        id = SyntheticStore.sample_id(round, source, copy)
        value = 100 + source + 10 * copy + 50 * round
        store.add(
            SampleRecord(
                id=id,
                round=round,
                source=source,
                source_path='',
                copy=copy,
                seed=0,
                T=400,
                steps=5,
                solver='ddim',
                caption='',
                checkpoint='',
            ),
            np.full((6, 8, 3), value, np.uint8),
            dict(segmentation=np.ones((6, 8), np.uint8) if labels is None else labels),
        )
        ids.append(id)
    return ids


def grey(sample: dict) -> int:
    """Grey value of a loaded sample's first pixel."""
    return int(sample['inputs'][0, 0, 0])


def label(sample: dict) -> int:
    """Label of a loaded sample's first pixel."""
    return int(sample['data_samples'].gt_sem_seg.data[0, 0, 0])
