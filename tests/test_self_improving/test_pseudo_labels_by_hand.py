"""theta_C leaves alone what people have corrected or rejected."""

import pytest
import torch

from diff2in1_mm.tasks.joint import JointLabeller

from .test_pseudo_labels import attach, batch, build, loss_of


@pytest.mark.parametrize('joint', [False, True])
def test_a_label_by_hand_is_not_overwritten(joint):
    model = build('FrozenBackbone')
    batch_pass = attach(model)
    if joint:
        batch_pass.labeller = JointLabeller.of(batch_pass.labeller)
    inputs, samples = batch(synthetic=(0, 1, 3))
    samples[1].set_metainfo(dict(by_hand=('segmentation',)))
    samples[3].set_metainfo(dict(by_hand=('depth',)))
    before = [sample.gt_sem_seg.data.clone() for sample in samples]
    loss_of(model, inputs, samples)
    kept = [torch.equal(sample.gt_sem_seg.data, own) for sample, own in zip(samples, before)]
    assert kept == [False, True, True, False]


def test_a_batch_with_labels_by_hand_alone_has_nothing_to_label():
    model = build('FrozenBackbone')
    batch_pass = attach(model)
    batch_pass.measuring = True
    inputs, samples = batch(synthetic=(1,))
    samples[1].set_metainfo(dict(by_hand=('segmentation',)))
    own = samples[1].gt_sem_seg.data.clone()
    own[0, 0, :8] = samples[1].gt_sem_seg.data[0, 0, :8] = 255
    loss_of(model, inputs, samples)
    assert torch.equal(samples[1].gt_sem_seg.data, own)
    assert batch_pass.figures['ignored'] == pytest.approx(8 / (24 * 32))


def test_a_rejected_class_is_ignored_in_what_theta_c_says_too():
    def targets(rejected):
        model = build('FrozenBackbone')
        attach(model)
        inputs, samples = batch()
        samples[1].set_metainfo(dict(rejected_classes=rejected))
        loss_of(model, inputs, samples)
        return samples[1].gt_sem_seg.data, samples[3].gt_sem_seg.data

    plain, other = targets(())
    wrong = int(plain[0, 0, 0])
    changed, unchanged = targets((wrong,))
    assert wrong != 255 and torch.equal(changed, torch.where(plain == wrong, 255, plain))
    assert torch.equal(other, unchanged)


@pytest.mark.parametrize('targets', ['per_iteration', 'creation'])
def test_a_rejected_class_is_what_the_head_ignores(targets):
    model = build('FrozenBackbone')
    model.decode_head.ignore_index = 7
    attach(model, targets=targets)
    inputs, samples = batch()
    samples[1].set_metainfo(dict(rejected_classes=(1,)))
    samples[1].gt_sem_seg.data[0, :4] = 255  # as its data set does
    loss_of(model, inputs, samples)
    assert not {1, 255} & set(samples[1].gt_sem_seg.data.unique().tolist())
