"""Stores of each kind of label, with shapes that formats tend to lose."""

from types import SimpleNamespace

import numpy as np
import pytest

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.instances import Instances
from diff2in1_mm.tasks.panoptic import PanopticMap

from ..test_store.samples import CLASSES, make_record

SIZE = (20, 30)


def disc(x, y, radius):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def make_store(root, task, annotations, **changes):
    store = SyntheticStore.prepare(root, [task], CLASSES, 'f', {})
    rng = np.random.default_rng(0)
    for number, annotation in enumerate(annotations):
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        store.add(make_record(number, **changes), image, {task: annotation})
    return SyntheticStore(root)


def label_map(seed):
    labels = np.random.default_rng(seed).integers(0, 3, (4, 6)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    labels[:3, :3] = 255
    return labels


def objects(with_masks, shapes=None):
    shapes = shapes or [disc(8, 8, 5), disc(20, 12, 6), disc(10, 9, 4)]
    corners = [np.argwhere(shape) for shape in shapes]
    boxes = np.array([[*c.min(0)[::-1], *(c.max(0)[::-1] + 1)] for c in corners], float)
    ignored = np.array([False, False, True])
    return Instances(
        boxes, np.array([2, 0, 1]), np.array([0.9, 0.8, 0.4]), ignored, np.stack(shapes) if with_masks else None
    )


@pytest.fixture
def maps(tmp_path):
    return make_store(tmp_path / 'maps', 'segmentation', [label_map(0), label_map(1)])


@pytest.fixture(params=['boxes', 'masks'])
def things(request, tmp_path):
    return make_store(tmp_path / request.param, 'instances', [objects(request.param == 'masks')] * 2)


@pytest.fixture
def segments(tmp_path):
    ids = np.zeros(SIZE, int)
    for number, shape in enumerate((disc(8, 8, 5), disc(20, 12, 6), disc(25, 3, 2))):
        ids[shape] = number + 1
    return make_store(tmp_path / 'segments', 'panoptic', [PanopticMap(ids, np.array([0, 0, 2]), 2)])


def first(store):
    """The first sample: its record, its image and its annotation."""
    record = store.accepted()[0]
    image, annotations = store.read(record)
    (annotation,) = annotations.values()
    return SimpleNamespace(record=record, id=record.id, image=image, annotation=annotation)
