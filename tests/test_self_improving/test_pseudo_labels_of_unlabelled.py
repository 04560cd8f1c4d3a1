"""``targets='unlabelled'``: theta_C labels unlabelled pictures in every iteration, all else keeps its labels."""

from types import SimpleNamespace

import pytest
import torch
from mmseg.datasets import MultiImageMixDataset

from diff2in1_mm.preflight.run import check_targets

from ..tiny_segmentation import build_dataset, dataset_config, make_images
from .test_pseudo_labels import attach, batch, build, loss_of


@pytest.mark.parametrize('measuring', [False, True])
@pytest.mark.parametrize('unlabelled', [(1,), (0, 3), ()])
def test_what_was_made_keeps_its_labels(unlabelled, measuring):
    def targets(kind):
        model = build('FrozenBackbone')
        batch_pass = attach(model, targets=kind)
        batch_pass.measuring = measuring
        inputs, samples = batch(synthetic=(0, 1, 3))
        for i in unlabelled:
            samples[i].set_metainfo(dict(unlabelled=True))
        loss_of(model, inputs, samples)
        assert not measuring or {'agreement', 'ignored'} <= set(batch_pass.figures)
        return [sample.gt_sem_seg.data for sample in samples]

    stored, renewed, mixed = map(targets, ('creation', 'per_iteration', 'unlabelled'))
    for i in range(4):
        assert torch.equal(mixed[i], renewed[i] if i in unlabelled else stored[i])
    assert not torch.equal(stored[1], renewed[1])


def test_without_such_pictures_it_is_refused():
    with pytest.raises(ValueError, match='and that is not set: name their folder'):
        check_targets('unlabelled', dict(T=400), None)
    check_targets('unlabelled', dict(unlabelled='data/night'), None)
    check_targets('creation', {}, None)


def test_joined_images_are_refused(tmp_path):
    inner = build_dataset(make_images(tmp_path / 'set'))
    config = dataset_config(tmp_path / 'set')
    joined = SimpleNamespace(real=MultiImageMixDataset(config, [], lazy_init=True))
    with pytest.raises(ValueError, match='mixing wrapper'):
        check_targets('unlabelled', dict(unlabelled='data/night'), joined)
    check_targets('unlabelled', dict(unlabelled='data/night'), SimpleNamespace(real=inner))
