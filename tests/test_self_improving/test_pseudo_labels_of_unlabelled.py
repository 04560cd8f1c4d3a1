"""``targets='unlabelled'``: theta_C labels unlabelled pictures in every iteration, all else keeps its labels."""

import pytest
import torch

from diff2in1_mm.preflight.run import check_targets

from .test_pseudo_labels import attach, batch, build, loss_of


@pytest.mark.parametrize('unlabelled', [(1,), (0, 3), ()])
def test_what_was_made_keeps_its_labels(unlabelled):
    def targets(kind):
        model = build('FrozenBackbone')
        batch_pass = attach(model, targets=kind)
        batch_pass.measuring = True
        inputs, samples = batch(synthetic=(0, 1, 3))
        for i in unlabelled:
            samples[i].set_metainfo(dict(unlabelled=True))
        loss_of(model, inputs, samples)
        assert {'agreement', 'ignored'} <= set(batch_pass.figures)
        return [sample.gt_sem_seg.data for sample in samples]

    stored, renewed, mixed = map(targets, ('creation', 'per_iteration', 'unlabelled'))
    for i in range(4):
        assert torch.equal(mixed[i], renewed[i] if i in unlabelled else stored[i])
    assert not torch.equal(stored[1], renewed[1])


def test_without_such_pictures_it_is_refused():
    with pytest.raises(ValueError, match='and that is not set: name their folder'):
        check_targets('unlabelled', dict(T=400))
    check_targets('unlabelled', dict(unlabelled='data/night'))
    check_targets('creation', {})
