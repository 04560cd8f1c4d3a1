"""Pixels that do not show what their source's label map says."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diff2in1_mm.creation.create import create, labels_of
from diff2in1_mm.creation.label_filter import ClassLossFilter
from diff2in1_mm.creation.plan import source_entry
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.base import Label

from ..stores import read_one

OPTIONS = dict(steps=2, T=500, label_from='source', batch_size=3)


def scores_of(model, image):
    """What the model says of an RGB image (H, W, 3), without the code under test."""
    inputs = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() - 127.5) / 127.5
    meta = dict(img_shape=image.shape[:2], pad_shape=image.shape[:2])
    with torch.no_grad():
        return model.eval().encode_decode(inputs, [meta])


def test_pixels_above_their_classs_mean_on_real_images_are_ignored(tmp_path, model, dataset):
    """The whole of it, computed again from the store's files and the source images."""
    create(model, dataset, tmp_path / 's', filter_above=1.1, **OPTIONS)
    sums, counts = torch.zeros(2, 3, dtype=torch.float64)
    maps = []
    for i in range(7):
        results = source_entry(dataset, i)
        for transform in dataset.pipeline.transforms[:2]:
            results = transform(results)
        target = torch.from_numpy(results['gt_seg_map'].astype(np.int64))
        losses = F.cross_entropy(scores_of(model, results['img'][..., ::-1]), target[None], reduction='none')[
            0
        ].double()
        for c in range(3):
            sums[c] += losses[target == c].double().sum()
            counts[c] += (target == c).sum()
        maps.append(target)
    means = sums / counts
    store, filtered = SyntheticStore(tmp_path / 's'), 0
    for record in store.records():
        image, raw = read_one(store, record)
        target = maps[record.source]
        losses = F.cross_entropy(scores_of(model, image), target[None], reduction='none')[0]
        odd = (losses > 1.1 * means[target]).numpy()
        unsure = (losses - 1.1 * means[target]).abs().numpy() < 1e-4
        assert np.array_equal(raw[~unsure], np.where(odd, 255, target.numpy())[~unsure])
        assert record.quality['filtered'] == pytest.approx((raw == 255).mean(), abs=1e-6) == record.quality['ignored']
        filtered += odd.sum()
    assert 0 < filtered < sum(target.numel() for target in maps)
    assert store.settings['filter_above'] == 1.1


def test_a_class_that_real_images_do_not_show_is_never_filtered(model, dataset):
    settings = CreationSettings(**OPTIONS)
    labels = labels_of(model, settings, dataset)
    judge = ClassLossFilter(1.0, labels, torch.tensor([0.0, torch.inf, 0.0]))
    entry = source_entry(dataset, 0)
    found = labels.labeller.source_labels((32, 48), [entry])
    (label,) = judge(torch.zeros(1, 3, 32, 48, dtype=torch.uint8), found, [entry])
    before = found[0].annotation['segmentation']
    assert np.array_equal(label.annotation['segmentation'] == 255, before != 1) and isinstance(label, Label)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        (dict(OPTIONS, filter_above=0), 'must be a number above 0'),
        (dict(OPTIONS, filter_above='high'), 'must be a number above 0'),
        (dict(OPTIONS, filter_above=1.25, label_from='fresh'), "it needs label_from='source'"),
    ],
)
def test_bad_settings_are_told_before_the_warm_up(model, dataset, settings, words):
    with pytest.raises(ValueError, match=words):
        check_creation(model, settings, dataset)
