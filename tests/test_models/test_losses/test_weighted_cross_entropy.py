"""Class weights together with ignored pixels."""

import pytest
import torch
from torch.nn import functional as F

losses = pytest.importorskip('mmseg.models.losses')
from diff2in1_mm.models.losses.weighted_cross_entropy import WeightedCrossEntropyLoss  # noqa: E402
from diff2in1_mm.utils.compat import class_weights_skip_ignored_pixels

WEIGHT = [0.5, 2.0, 1.5]


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))


@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_equals_mmsegmentations_where_nothing_is_ignored(batch, avg_non_ignore):
    if avg_non_ignore and class_weights_skip_ignored_pixels():
        pytest.skip('onedl-mmsegmentation 1.3 to 1.4.2 fails with class weights and avg_non_ignore')
    ours, theirs = (
        kind(class_weight=WEIGHT, avg_non_ignore=avg_non_ignore)(*batch, ignore_index=255)
        for kind in (WeightedCrossEntropyLoss, losses.CrossEntropyLoss)
    )
    assert torch.equal(ours, theirs)


def test_mmsegmentations_still_needs_it(batch):
    logits, label = batch
    label[0, :2] = 255
    theirs = losses.CrossEntropyLoss(class_weight=WEIGHT)
    if class_weights_skip_ignored_pixels():  # the fork, but with that option
        assert not class_weights_skip_ignored_pixels(avg_non_ignore=True)
        assert theirs(logits, label, ignore_index=255).isfinite()
        return
    with pytest.raises(IndexError):
        theirs(logits, label, ignore_index=255)


def test_ignored_pixels_have_no_weight(batch):
    logits, label = batch
    label[0, :2] = 255
    loss = WeightedCrossEntropyLoss(WEIGHT, avg_non_ignore=True)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, F.cross_entropy(logits, label, torch.tensor(WEIGHT), ignore_index=255))


def test_ignored_pixels_can_count_in_the_mean(batch):
    logits, label = batch
    label[0, :2] = 255
    labelled = torch.tensor(WEIGHT)[label[label != 255]].sum()
    total = F.cross_entropy(logits, label, torch.tensor(WEIGHT), ignore_index=255, reduction='sum')
    loss = WeightedCrossEntropyLoss(WEIGHT)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, total / (labelled + 14))


@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_a_batch_without_a_label_gives_zero(batch, avg_non_ignore):
    logits, label = batch
    logits.requires_grad_()
    loss = WeightedCrossEntropyLoss(WEIGHT, avg_non_ignore)(logits, torch.full_like(label, 255), ignore_index=255)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize('kwargs', [dict(class_weight=None), dict(class_weight=WEIGHT, use_sigmoid=True)])
def test_other_losses_are_left_to_mmsegmentation(kwargs):
    with pytest.raises(ValueError, match="type='CrossEntropyLoss'"):
        WeightedCrossEntropyLoss(**kwargs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_batches_in_half_precision(dtype):
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 192, 256), torch.randint(0, 3, (2, 192, 256))
    loss = WeightedCrossEntropyLoss(class_weight=WEIGHT)
    expected = loss(logits, label, ignore_index=255)
    with torch.autocast('cpu', dtype):
        found = loss(logits.to(dtype), label, ignore_index=255)
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=0)


def test_mmsegmentations_is_0_there():
    logits, label = torch.randn(2, 3, 192, 256), torch.randint(0, 3, (2, 192, 256))
    with torch.autocast('cpu', torch.float16):
        assert losses.CrossEntropyLoss(class_weight=WEIGHT)(logits.half(), label, ignore_index=255) == 0
