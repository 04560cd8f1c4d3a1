"""Labels of a batch that follow the shares of the classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.registry import init_default_scope

from diff2in1_mm.tasks import labeller_for
from diff2in1_mm.tasks.class_proportions import ClassProportions

from .test_segmentation import sample, segmentor


def logarithms(classes, seed=0):
    return torch.randn(2, classes, 16, 20, generator=torch.Generator().manual_seed(seed)).log_softmax(1)


@settings(max_examples=25, deadline=None)
@given(shares=st.lists(st.floats(0.05, 1), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_both_marginals_hold(shares, seed):
    wanted = np.array(shares) / sum(shares)
    plan = ClassProportions(shares).follow(logarithms(len(shares), seed))
    torch.testing.assert_close(plan.sum(1), torch.ones(2, 16, 20))  # each pixel gives itself, once
    np.testing.assert_allclose(plan.mean((0, 2, 3)), wanted, atol=1e-3)  # each class gets its share


def test_it_is_the_nearest_such_plan():
    """Of two pixels and two classes there is one free number, which is tried."""
    probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3]])
    found = ClassProportions([0.5, 0.5]).follow(probabilities.log().view(2, 2, 1, 1)).view(2, 2)
    candidates = []
    for first in np.linspace(0.001, 0.999, 999):
        plan = torch.tensor([[first, 1 - first], [1 - first, first]])
        candidates.append((float((plan * (plan / probabilities).log()).sum()), first))
    assert float(found[0, 0]) == pytest.approx(min(candidates)[1], abs=2e-3)


def test_strength_lies_between_the_prediction_and_the_shares():
    rows, shares = logarithms(3), [0.8, 0.1, 0.1]
    before = rows.exp()[:, 0].mean()
    means = [ClassProportions(shares, strength).follow(rows)[:, 0].mean() for strength in (0.25, 0.5, 1.0)]
    assert before < means[0] < means[1] < means[2] and means[2] == pytest.approx(0.8, abs=1e-3)


def test_a_class_that_labels_never_show_is_left_out():
    assert ClassProportions([1, 0, 1]).follow(logarithms(3))[:, 1].max() < 1e-4


def test_pixels_that_do_not_count_leave_the_others_alone():
    rows = logarithms(3)
    padded = torch.cat([rows, torch.tensor([0.98, 0.01, 0.01]).log()[:, None, None].expand(2, 3, 16, 20)], 2)
    counted = torch.ones(2, 32, 20, dtype=torch.bool)
    counted[:, 16:] = False
    shares = ClassProportions([0.5, 0.3, 0.2])
    torch.testing.assert_close(shares.follow(padded, counted)[:, :, :16], shares.follow(rows), rtol=1e-4, atol=1e-5)


def test_padding_of_a_batch_does_not_count():
    init_default_scope('mmseg')
    model = segmentor()
    labeller = labeller_for(model, options=dict(proportions=[1] * model.decode_head.num_classes))
    seen = []
    labeller.proportions.follow = lambda rows, counted: seen.append(counted) or rows.exp()
    samples = [sample(), sample()]
    samples[1].set_metainfo(dict(padding_size=(0, 8, 0, 4)))  # left, right, top, bottom
    labeller.predict(model, torch.zeros(2, 3, 32, 40), samples)
    assert seen[0][0].all() and seen[0][1, :28, :32].all() and seen[0][1].sum() == 28 * 32


@pytest.mark.parametrize('flip', [False, True])
def test_labels_of_a_segmentor_follow_them(flip):
    init_default_scope('mmseg')
    model, images = segmentor(), torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    count = model.decode_head.num_classes
    plain = labeller_for(model, options=dict(flip=flip)).predict(model, images, [sample()] * 2)
    shares = [0.01] * (count - 1) + [1]
    found = labeller_for(model, options=dict(flip=flip, proportions=shares)).predict(model, images, [sample()] * 2)
    of_last = [float(torch.stack([(p.labels == count - 1).float() for p in own]).mean()) for own in (plain, found)]
    assert of_last[1] > max(0.9, of_last[0])
    assert (found[0].agreement is None) == (not flip)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(proportions=[1.0]), 'must be the share of labelled pixels of each class'),
        (dict(proportions=[1.0, -0.5]), 'must be the share'),
        (dict(proportions=[0, 0, 0]), 'are all 0'),
        (dict(proportions=[1, 1], proportions_strength=0), 'must be above 0'),
        (dict(proportions=[1] * 7), 'has 7 classes, but the model'),
    ],
)
def test_bad_options_are_named(options, words):
    init_default_scope('mmseg')
    with pytest.raises(ValueError, match=words):
        labeller_for(segmentor(), options=options)
