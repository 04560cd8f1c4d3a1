"""Samples take turns; those of upright images fill the slots of such."""

import json
from collections import Counter
from itertools import islice
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATASETS, init_default_scope

from diff2in1_mm.datasets.slot_order import Turns, upright_images
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.instances import Instances

from ..test_tasks.test_instances_files import record
from .folders import base_config, make_folder


class Samples:
    """As `Records` are asked, without files."""

    def __init__(self, sources, ids):
        self.sources, self.ids = np.array(sources), np.array(ids)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        if isinstance(index, int):
            return SimpleNamespace(source=self.sources[index], id=self.ids[index])
        return Samples(self.sources[index], self.ids[index])


def samples_of(sources):
    return Samples(sources, range(len(sources)))


def taken(turns, slot, turn):
    first, samples = turns.of(slot, turn)
    return samples[first % len(samples)]


@pytest.mark.parametrize(
    'upright, sources', [([0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 2]), ([1, 1, 1, 1], [3, 2]), ([0, 1, 0, 1], [0, 2, 0])]
)
def test_one_orientation_is_one_queue(upright, sources):
    """Also where the samples are all of one: whoever takes the others would take nothing."""
    turns = Turns(samples_of(sources), torch.tensor(upright), [0, 1, 2, 3, 1, 3])
    for turn in (-2, 0, 1, 5):
        assert [taken(turns, slot, turn).id for slot in range(6)] == [
            (slot + 6 * turn) % len(sources) for slot in range(6)
        ]


def test_each_orientation_takes_its_own_turns():
    upright = torch.tensor([0, 1, 0, 1, 0, 0])
    sources, slots = [0, 1, 2, 3, 4, 5] * 3, [0, 1, 2, 3, 4, 5, 1]
    turns, served = Turns(samples_of(sources), upright, slots), Counter()
    for turn in range(36):
        for slot, real in enumerate(slots):
            sample = taken(turns, slot, turn)
            assert upright[sample.source] == upright[real]
            served[sample.id] += 1
    assert {served[i] for i, source in enumerate(sources) if upright[source]} == {18}
    assert {served[i] for i, source in enumerate(sources) if not upright[source]} == {12}


@pytest.fixture
def coco(tmp_path):
    """Config of a COCO set: two wide images, a square and an upright one, twice."""
    sizes = [(48, 64), (48, 64), (64, 64), (64, 48)] * 2
    for i, size in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((*size, 3), i, np.uint8))
    (tmp_path / 'all.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=i, file_name=f'{i}.png', height=h, width=w) for i, (h, w) in enumerate(sizes)],
                annotations=[
                    dict(id=i, image_id=i, category_id=1, iscrowd=0, area=64, bbox=[4, 4, 8, 8])
                    for i in range(len(sizes))
                ],
                categories=[dict(id=1, name='a')],
            )
        )
    )
    return dict(
        type='mmdet.CocoDataset',
        ann_file=str(tmp_path / 'all.json'),
        data_prefix=dict(img=f'{tmp_path}/'),
        metainfo=dict(classes=('a',)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs'),
        ],
    )


def store_for(dataset, folder, sources):
    """Samples of the size of their source; not of every image."""
    store = SyntheticStore.prepare(folder, ['instances'], ('a',), 'f', {})
    for source in sources:
        entry = dataset.get_data_info(source)
        store.add(
            record(source, 0, 0),
            np.zeros((entry['height'], entry['width'], 3), np.uint8),
            dict(instances=Instances(np.array([[4.0, 4, 9, 9]]), np.array([0]), np.ones(1), np.zeros(1, bool), None)),
        )


def test_batches_by_aspect_ratio(coco, tmp_path):
    """MMDetection's sampler asks for the real image of a slot."""
    samplers = pytest.importorskip('mmdet.datasets.samplers')
    init_default_scope('mmdet')
    mix = DATASETS.build(dict(type='SyntheticMixDataset', dataset=coco, ratio=1.5, store=str(tmp_path / 'store')))
    store_for(mix.real, tmp_path / 'store', (0, 2, 3, 4, 5, 6, 7))
    mix.serve(0)
    batches = samplers.AspectRatioBatchSampler(InfiniteSampler(mix, seed=0), batch_size=4)
    seen = set()
    for batch in islice(batches, 40):
        loaded = [mix[index] for index in batch]
        assert len({h > w for _, h, w in (sample['inputs'].shape for sample in loaded)}) == 1
        seen |= {sample['data_samples'].sample_id for sample in loaded}
    assert len(seen - {''}) == 7


def test_where_sizes_are_unknown_or_images_are_joined(coco, tmp_path):
    for library in ('mmdet', 'mmseg'):
        pytest.importorskip(library)
    init_default_scope('mmdet')
    assert upright_images(DATASETS.build(coco)).tolist() == [0, 0, 0, 1] * 2
    joined = dict(
        type='mmdet.MultiImageMixDataset', dataset=coco, pipeline=[dict(type='mmdet.Mosaic', img_scale=(64, 64))]
    )
    assert not upright_images(DATASETS.build(joined)).any()
    assert not upright_images(DATASETS.build(base_config(make_folder(tmp_path / 's', 2)))).any()
