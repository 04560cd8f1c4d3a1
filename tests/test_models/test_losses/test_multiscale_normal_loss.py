"""The loss over the scales of a refined prediction, against the reference."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from diff2in1_mm.models.decode_heads.normal_decoder import normalise
from diff2in1_mm.models.losses.multiscale_normal_loss import MultiscaleNormalLoss
from tests.golden_values import Golden
from tests.test_models.test_losses.test_normal_loss import KINDS, construct, rotation


def scales(values):
    """Predictions and coordinates as the golden file describes them, float64."""
    pairs = [(normalise(values.input('pred_res8_raw').double()).requires_grad_(), None)]
    for scale in (4, 2, 1):
        pred = normalise(values.input(f'pred_res{scale}_raw').double())
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[:, None]
        pred[:, :3, 0:4], pred[:, :3, 4:8] = up, -up
        where = (values.input(f'coord_res{scale}_raw') / 2).clamp(-1, 1)
        where[:, 0, :8, 1] = 6 / 47 * 2 - 1
        pairs.append((pred.requires_grad_(), where))
    return pairs


@pytest.mark.parametrize('name, kind', [('UG_NLL_vMF', 'nll_vmf'), ('UG_NLL_ours', 'nll_angular')])
def test_values_and_gradients_equal_the_reference(golden, name, kind):
    values = Golden(golden, 'losses')
    _, target, mask = construct(values)
    pairs = scales(values)
    loss = MultiscaleNormalLoss(kind)
    for i, pair in enumerate(pairs):
        # coordinates are float32 in the reference as well
        assert values.error(f'{name}.f64.term{i}', loss([pair], target, mask)[None]) < 1e-7
    total = loss(pairs, target, mask)
    assert total.item() == pytest.approx(values.spec['loss_values'][f'{name}.f64']['value'], rel=1e-8)
    total.backward()
    for i, (pred, _) in enumerate(pairs):
        assert values.error(f'{name}.f64.grad_pred{i}', pred.grad) < 1e-8


def test_no_ground_truth_contributes_nothing():
    pred = normalise(torch.randn(1, 4, 6, 8)).requires_grad_()
    points = normalise(torch.randn(1, 4, 5)).requires_grad_()
    where = torch.rand(1, 1, 5, 2) * 2 - 1
    loss = MultiscaleNormalLoss()(
        [(pred, None), (points, where)], torch.zeros(1, 3, 12, 16), torch.zeros(1, 12, 16, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == 0 and pred.grad.abs().max() == 0


def turned(turn, maps):
    """Normals (N, 3 or 4, ...) turned; kappa stays."""
    return torch.cat([torch.einsum('ij,nj...->ni...', turn, maps[:, :3]), maps[:, 3:]], 1)


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from([k for k in KINDS.values() if k != 'l1']), seed=st.integers(0, 2**31), weighted=st.booleans()
)
def test_a_common_rotation_changes_nothing(kind, seed, weighted):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return normalise(torch.randn(*shape, generator=generator, dtype=torch.float64))

    pairs = [
        (draw(2, 4, 3, 4), None),
        (draw(2, 4, 9), torch.rand(2, 1, 9, 2, generator=generator, dtype=torch.float64) * 2 - 1),
    ]
    target = draw(2, 4, 12, 16)[:, :3]
    mask = torch.rand(2, 12, 16, generator=generator, dtype=torch.float64)
    mask = mask if weighted else mask > 0.3
    turn = rotation(generator)
    loss = MultiscaleNormalLoss(kind)
    torch.testing.assert_close(
        loss([(turned(turn, pred), where) for pred, where in pairs], turned(turn, target), mask),
        loss(pairs, target, mask),
    )


@pytest.mark.parametrize('kind', KINDS.values())
def test_an_image_without_ground_truth_contributes_nothing(kind):
    generator = torch.Generator().manual_seed(0)
    pred = normalise(torch.randn(2, 4, 6, 8, generator=generator)).requires_grad_()
    target = normalise(torch.randn(2, 4, 12, 16, generator=generator))[:, :3]
    target[1] = 0
    mask = (target != 0).any(1)
    both = MultiscaleNormalLoss(kind)([(pred, None)], target, mask)
    alone = MultiscaleNormalLoss(kind)([(pred[:1], None)], target[:1], mask[:1])
    both.backward()
    torch.testing.assert_close(both, alone)
    assert (pred.grad[1] == 0).all() and torch.isfinite(pred.grad).all()
