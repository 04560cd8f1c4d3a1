"""Unlabelled pictures that join the samples as they are."""

from contextlib import nullcontext
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from diff2in1_mm.creation.agreement import agreement_with_sources
from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.plan import make_plan
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore
from diff2in1_mm.utils.errors import UserError

from ..tiny_segmentation import FAST

FROM_SOURCE = dict(FAST, label_from='source')


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / 'more').mkdir()
    rng = np.random.default_rng(0)
    for i, size in enumerate([(32, 48, 3)] * 8 + [(48, 32, 3)]):
        cv2.imwrite(str(tmp_path / f'more/{i}.png'), rng.integers(0, 256, size, dtype=np.uint8))
    return str(tmp_path / 'more')


def split(store):
    """Records of what was made, and of unlabelled pictures."""
    return [[r for r in store.records() if r.unlabelled == wanted] for wanted in (False, True)]


def test_they_stand_beside_what_was_made_with_labels_of_the_model(tmp_path, model, dataset, pictures):
    create(model, dataset, tmp_path / 'plain', copies_per_source=2, **FROM_SOURCE)
    report = create(model, dataset, tmp_path / 's', copies_per_source=2, unlabelled=pictures, **FROM_SOURCE)
    plain, store = SyntheticStore(tmp_path / 'plain'), SyntheticStore(tmp_path / 's')
    made, as_they_are = split(store)
    assert report.samples == len(made) + len(as_they_are) == 14 + 9
    for one, other in zip(plain.records(), made):  # these are not touched by it
        assert (one.id, one.seed, one.T, one.caption) == (other.id, other.seed, other.T, other.caption)
        np.testing.assert_allclose(plain.read(one)[0].astype(int), store.read(other)[0], atol=1)  # batches differ
    labels = BatchLabels(model.eval(), 'fresh', transforms=dataset.pipeline.transforms)
    assert {r.source_path for r in as_they_are} == {f'{pictures}/{i}.png' for i in range(9)}
    for record in as_they_are:
        image, annotations = store.read(record)
        np.testing.assert_array_equal(image, cv2.imread(record.source_path)[..., ::-1])
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
        (label,) = labels(pixels, {}, [dataset.get_data_info(record.source)])
        np.testing.assert_array_equal(annotations['segmentation'], label.annotation['segmentation'])
        assert (record.T, record.steps, record.solver, record.caption) == (0, 0, '', '')
    sheet = cv2.imread(str(tmp_path / 's/preview.png'))
    assert sheet is not None and sheet.shape[0] > 7 * 192


def test_they_are_served_and_marked(tmp_path, model, dataset, pictures):
    create(model, dataset, tmp_path / 's', copies_per_source=0, unlabelled=pictures, **FROM_SOURCE)
    assert [len(part) for part in split(SyntheticStore(tmp_path / 's'))] == [0, 9]
    served = SyntheticMixDataset(dataset, store=str(tmp_path / 's'), round=0)
    drawn = [served[i]['data_samples'] for i in range(len(served))]
    assert [sample.metainfo.get('unlabelled', False) for sample in drawn] == [False] * 7 + [True] * 7


def test_a_creation_goes_on_with_more_of_them_but_not_with_others(tmp_path, model, dataset, pictures):
    create(model, dataset, tmp_path / 's', unlabelled=pictures, limit=2, **FROM_SOURCE)
    assert [len(part) for part in split(SyntheticStore(tmp_path / 's'))] == [2, 2]
    create(model, dataset, tmp_path / 's', unlabelled=pictures, **FROM_SOURCE)
    cv2.imwrite(f'{pictures}/9.png', np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(StoreMismatch, match='unlabelled'):
        create(model, dataset, tmp_path / 's', unlabelled=pictures, **FROM_SOURCE)


@pytest.mark.parametrize('sources', ['uniform', 'by_class_frequency'])
def test_a_limit_changes_no_place(tmp_path, dataset, pictures, sources):
    places = {}
    for limit in (3, None):
        settings = CreationSettings(unlabelled=pictures, sources=sources, copies_per_source=5, limit=limit)
        plan = make_plan(dataset, settings.build_generator(), settings, 0, 0)
        places[limit] = {sample.id: sample.picture for sample in plan.samples if sample.picture}
    assert len(places[3]) == 3 and places[3].items() <= places[None].items() and len(places[None]) == 9


def test_the_sheet_shows_more_of_what_was_made(dataset, pictures):
    settings = CreationSettings(unlabelled=pictures, batch_size=4)
    shown = [s for batch in make_plan(dataset, settings.build_generator(), settings, 0, 0).preview for s in batch]
    assert [bool(sample.picture) for sample in shown].count(True) == 2 and len(shown) == 8


def test_a_broken_one_is_named_and_left_out(tmp_path, model, dataset, pictures):
    with open(f'{pictures}/3.png', 'wb') as file:
        file.write(b'no picture')
    report = create(model, dataset, tmp_path / 's', unlabelled=pictures, **FROM_SOURCE)
    assert report.skipped == [f'{pictures}/3.png'] and report.samples == 7 + 8


def test_processes_make_the_same_together(tmp_path, model, dataset, pictures):
    for rank in (0, 1):
        create(model, dataset, tmp_path / 'two', unlabelled=pictures, rank=rank, world_size=2, **FROM_SOURCE)
    create(model, dataset, tmp_path / 'one', unlabelled=pictures, **FROM_SOURCE)
    one, two = SyntheticStore(tmp_path / 'one'), SyntheticStore(tmp_path / 'two')
    assert {r.id: r.source_path for r in one.records()} == {r.id: r.source_path for r in two.records()}


def test_what_is_to_come_is_counted_without_what_is_there(tmp_path, model, dataset, pictures, logged):
    create(model, dataset, tmp_path / 's', copies_per_source=2, unlabelled=pictures, **FROM_SOURCE)
    # 14 made and 9 pictures, of which the sheet has six and two
    assert any(said.startswith('15 more samples will take about') for said in logged)


def test_a_label_scale_is_for_the_pictures_beside_labels_of_the_source():
    labels = object.__new__(BatchLabels)
    labels.scale, labels.labeller, labels.model = (64, 64), SimpleNamespace(labellers={'a': _Resizing()}), None
    for labels.unlabelled, refused in (
        (True, nullcontext()),
        (False, pytest.raises(UserError, match='looks at no image')),
    ):
        with refused:
            labels._check_scale('source')


class _Resizing:
    def resized(self):
        pass


def test_their_labels_are_not_compared_with_those_of_a_source(tmp_path, model, dataset, pictures):
    create(model, dataset, tmp_path / 's', unlabelled=pictures, **FAST)
    store = SyntheticStore(tmp_path / 's')
    assert agreement_with_sources(model, dataset, store, store.records(), FAST).samples == 7


def test_bad_input_is_told_before_the_warm_up(tmp_path, model, dataset, pictures, monkeypatch):
    with pytest.raises(FileNotFoundError, match='creation.unlabelled takes a folder or glob'):
        check_creation(model, dict(unlabelled=str(tmp_path / 'nowhere')), dataset)
    with pytest.raises(UserError, match='copies_per_source = 0 makes no sample'):
        check_creation(model, dict(copies_per_source=0), dataset)
    monkeypatch.setattr('diff2in1_mm.creation.unlabelled.MAX_COPIES', 2)
    with pytest.raises(UserError, match='9 pictures, and 7 labelled images have room for 7 beside'):
        check_creation(model, dict(unlabelled=pictures), dataset)
