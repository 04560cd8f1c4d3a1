"""How far labels agree with those of the source images, by hand for each kind."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from diff2in1_mm.creation.agreement import _MEASURES, agreement_with_sources, labels_of_sources
from diff2in1_mm.creation.create import create
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.source_instances import Instances

from ..test_store.samples import make_record
from ..tiny_segmentation import CLASSES, dataset_config


def boxes(*found, ignored=()):
    """Of corners and a class each."""
    corners = np.array([one[:4] for one in found], float).reshape(-1, 4)
    labels = np.array([one[4] for one in found], int)
    flags = np.array([i in ignored for i in range(len(found))], bool)
    return Instances(corners, labels, np.ones(len(found)), flags)


class TestMeasures:
    def test_pixels_of_one_class_where_both_say_one(self):
        own, truth = np.array([[0, 1, 255, 2]], np.uint8), np.array([[0, 2, 1, 255]], np.uint8)
        assert _MEASURES['segmentation'](own, truth, {}) == 0.5
        assert _MEASURES['segmentation'](own, np.full_like(own, 255), {}) is None
        # file values of which the data set drops the first: 0 is ignored, 1 is class 0
        assert _MEASURES['segmentation'](np.uint8([[1, 0]]), np.uint8([[1, 2]]), dict(reduce_zero_label=True)) == 1

    def test_boxes_that_both_have(self):
        own = boxes((0, 0, 10, 10, 1), (20, 20, 30, 30, 0))
        assert _MEASURES['instances'](own, own, {}) == 1
        assert _MEASURES['instances'](own, boxes((0, 0, 10, 9, 1), (20, 20, 30, 30, 2)), {}) == 0.5
        assert _MEASURES['instances'](own, boxes((0, 0, 10, 10, 1), (5, 5, 9, 9, 2), ignored=[1]), {}) == 2 / 3
        assert _MEASURES['instances'](own, boxes(), {}) == 0 and _MEASURES['instances'](boxes(), boxes(), {}) is None

    def test_normals_and_depth_where_both_are_known(self):
        up, right, none = (0, 1, 0), (1, 0, 0), (0, 0, 0)
        assert _MEASURES['normals'](np.float32([[up, up, none]]), np.float32([[up, right, up]]), {}) == 0.5
        depth = _MEASURES['depth'](np.float32([[1, 2, 0, 4]]), np.float32([[1.2, 1, 3, 0]]), {})
        assert depth == _MEASURES['depth_npy'](np.float32([[1, 2]]), np.float32([[1.2, 1]]), {}) == 0.5
        assert _MEASURES['depth'](np.zeros((1, 2)), np.ones((1, 2)), {}) is None


@pytest.fixture
def store(dataset, tmp_path):
    """Two samples: one labelled as its source is, one that calls everything by the first class."""
    made = SyntheticStore.prepare(tmp_path / 's', ['segmentation'], CLASSES, 'f', {})
    for source in (0, 1):
        entry = dataset.get_data_info(source)
        labels = cv2.imread(entry['seg_map_path'], cv2.IMREAD_UNCHANGED)
        labels = np.repeat(np.repeat(labels, 2, 0), 2, 1)  # a picture of twice the size
        if source == 1:
            labels = np.zeros_like(labels)
        made.add(make_record(source), np.zeros((*labels.shape, 3), np.uint8), dict(segmentation=labels))
    return SyntheticStore(made.root)


def test_label_maps_by_class(model, dataset, store):
    found = agreement_with_sources(model, dataset, store, store.records(), {})
    maps = [cv2.imread(dataset.get_data_info(i)['seg_map_path'], cv2.IMREAD_UNCHANGED) for i in (0, 1)]
    assert found.samples == 2
    assert found.figures == dict(segmentation=pytest.approx((1 + (maps[1] == 0).mean()) / 2))
    for number, name in enumerate(CLASSES):
        own = [maps[0], np.zeros_like(maps[1])]
        both = sum(((a == number) & (b == number)).sum() for a, b in zip(own, maps))
        either = sum(((a == number) | (b == number)).sum() for a, b in zip(own, maps))
        assert found.classes.get(name) == (pytest.approx(both / either) if either else None)
        assert found.shares.get(name, 0) == pytest.approx(np.mean([m == number for m in maps]), abs=1e-5)
    assert min(found.classes.values()) < 1


@pytest.mark.parametrize(
    'settings',
    [dict(label_from='source'), dict(label_from=dict(segmentation='source')), dict(compose=dict(classes=[]))],
)
def test_labels_of_the_sources_are_not_compared_with_themselves(model, dataset, store, settings):
    found = agreement_with_sources(model, dataset, store, store.records(), settings)
    assert found.samples == 0 and not found.figures and not found.classes


def test_sources_without_labels_say_nothing(model, root, store):
    unlabelled = DATASETS.build({**dataset_config(root), 'data_prefix': dict(img_path='img')})
    assert labels_of_sources(model, unlabelled) is None
    assert agreement_with_sources(model, unlabelled, store, store.records(), {}).figures == {}


def test_samples_whose_files_are_gone_are_left_out(model, dataset, store):
    records = list(store.records())
    (store.root / records[1].image).unlink()
    found = agreement_with_sources(model, dataset, store, records, {})
    assert found.samples == 1 and found.figures == dict(segmentation=1.0)


@pytest.fixture
def damaged(dataset, store):
    """The label map of the second source, for a while."""
    path = Path(dataset.get_data_info(1)['seg_map_path'])
    content = path.read_bytes()
    path.write_bytes(b'no picture')
    yield
    path.write_bytes(content)


@pytest.mark.usefixtures('damaged')
def test_samples_whose_source_labels_cannot_be_read_are_left_out(model, dataset, store):
    found = agreement_with_sources(model, dataset, store, store.records(), {})
    assert found.samples == 1 and found.figures == dict(segmentation=1.0)


def test_what_a_creation_labels_agrees_in_part(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 'made', steps=1, T=100, limit=3)
    store = SyntheticStore(tmp_path / 'made')
    found = agreement_with_sources(model, dataset, store, store.records(), dict(label_from='fresh'))
    assert found.samples == 3 and 0 <= found.figures['segmentation'] < 1


def test_what_the_head_ignores_is_not_compared(model, dataset, store, tmp_path):
    before = agreement_with_sources(model, dataset, store, store.records(), {})
    maps = [Path(dataset.get_data_info(i)['seg_map_path']) for i in (0, 1)]
    kept = [path.read_bytes() for path in maps]
    try:
        found = []
        for ignored in (255, 7):
            model.decode_head.ignore_index = ignored
            for path, content in zip(maps, kept):
                labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
                labels[: len(labels) // 3] = ignored
                cv2.imwrite(str(path), labels)
            quality = labels_of_sources(model, dataset).labeller.source_labels((32, 32), [dataset.get_data_info(0)])[0]
            found.append((agreement_with_sources(model, dataset, store, store.records(), {}).figures, quality.quality))
    finally:
        for path, content in zip(maps, kept):
            path.write_bytes(content)
    assert found[0] == found[1] and found[0][1]['ignored'] > 0.3
    assert found[0][0] != before.figures
