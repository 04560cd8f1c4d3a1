"""Samples that people reviewed: what training sees of them, and from when on."""

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from diff2in1_mm.store.corrections import correct
from diff2in1_mm.store.reviews import Reviews

from .folders import add_samples, base_config, make_folder, open_store

pytest.importorskip('mmseg.datasets')


def make_mix(tmp_path):
    return DATASETS.build(
        dict(
            type='SyntheticMixDataset',
            dataset=base_config(make_folder(tmp_path / 'real', 4)),
            store=str(tmp_path / 'store'),
            round=0,
        )
    )


@pytest.fixture
def ids(tmp_path):
    return add_samples(open_store(tmp_path / 'store'), range(4))


def served(mix, **loading):
    (batch,) = DataLoader(mix, batch_size=8, collate_fn=pseudo_collate, **loading)
    return [sample.sample_id for sample in batch['data_samples'] if sample.synthetic]


def test_rejected_samples_leave_at_the_next_start_and_come_back_when_that_is_undone(tmp_path, ids):
    running = make_mix(tmp_path)
    reviews = Reviews(tmp_path / 'store')
    reviews.add('reject', ids[1])
    assert served(running, num_workers=1) == ids  # a worker that reads the store now serves what the run began with
    started = make_mix(tmp_path)
    assert served(started) == [ids[0], ids[2], ids[3], ids[0]]
    reviews.undo()
    assert served(started) == [ids[2], ids[3], ids[0], ids[2]] and served(make_mix(tmp_path)) == ids
    for id in ids:
        reviews.add('reject', id)
    with pytest.raises(ValueError, match='every sample of round 0.*rejected.*tools/browse.py'):
        make_mix(tmp_path)


def test_a_class_that_is_wrong_in_a_sample_is_ignored_there(tmp_path, ids):
    Reviews(tmp_path / 'store').add('reject_class', ids[2], 'sky')
    mix = make_mix(tmp_path)
    samples = [mix[4 + slot]['data_samples'] for slot in range(4)]
    assert [sample.gt_sem_seg.data.unique().tolist() for sample in samples] == [[1], [1], [255], [1]]
    assert samples[2].rejected_classes == (1,) and 'rejected_classes' not in samples[0]
    mix.dataset.ignore_index = 7
    assert mix[6]['data_samples'].gt_sem_seg.data.unique().tolist() == [7]


def test_a_corrected_label_is_loaded_and_named(tmp_path, ids):
    store = open_store(tmp_path / 'store')
    correct(store, store.records()[0], 'segmentation', np.full((6, 8), 2, np.uint8))
    mix = make_mix(tmp_path)
    first, second = (mix[4 + slot]['data_samples'] for slot in range(2))
    assert first.by_hand == ('segmentation',) and (first.gt_sem_seg.data == 2).all()
    assert 'by_hand' not in second and (second.gt_sem_seg.data == 1).all()
