"""Losses of normals: golden values and gradients, invariance, and empty masks."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from diff2in1_mm.models.decode_heads.normal_decoder import normalise
from diff2in1_mm.models.losses.normal_loss import NormalLoss
from tests.golden_values import Golden

KINDS = dict(L1='l1', L2='l2', AL='angular', NLL_vMF='nll_vmf', NLL_ours='nll_angular')


def construct(values):
    """Prediction, target and mask as the golden file describes them, float64."""
    pred = normalise(values.input('pred_raw').double())
    raw = values.input('gt_raw').double()
    target = raw / raw.square().sum(1, keepdim=True).sqrt()
    target[:, :, 0:2] = pred[:, :3, 0:2]
    target[:, :, 2:4] = -pred[:, :3, 2:4]
    target[:, :, 4:8] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).view(1, 3, 1, 1)
    return pred.requires_grad_(), target, values.input('mask_noise')[:, 0] > -0.5


@pytest.mark.parametrize('name', KINDS)
def test_values_and_gradients_equal_the_reference(golden, name):
    values = Golden(golden, 'losses')
    pred, target, mask = construct(values)
    loss = NormalLoss(KINDS[name])(pred, target, mask)
    assert loss.item() == pytest.approx(values.spec['loss_values'][f'{name}.f64']['value'], rel=1e-9)
    loss.backward()
    assert values.error(f'{name}.f64.grad_pred', pred.grad) < 1e-9
    single = NormalLoss(KINDS[name])(pred.detach().float(), target.float(), mask)
    assert single.item() == pytest.approx(values.spec['loss_values'][f'{name}.f32']['value'], rel=1e-5)


def rotation(generator):
    """A random proper rotation (3, 3)."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q).sign()


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from([k for k in KINDS.values() if k != 'l1']), seed=st.integers(0, 2**31))
def test_a_common_rotation_changes_nothing(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    pred = normalise(torch.randn(2, 4, 50, generator=generator, dtype=torch.float64))
    target = normalise(torch.randn(2, 4, 50, generator=generator, dtype=torch.float64))[:, :3]
    mask = torch.rand(2, 50, generator=generator) > 0.3
    turn = rotation(generator)
    turned = torch.cat([torch.einsum('ij,njp->nip', turn, pred[:, :3]), pred[:, 3:]], 1)
    loss = NormalLoss(kind)
    torch.testing.assert_close(loss(turned, torch.einsum('ij,njp->nip', turn, target), mask), loss(pred, target, mask))


@pytest.mark.parametrize('kind', KINDS.values())
def test_an_empty_mask_contributes_nothing(kind):
    raw = torch.randn(1, 4, 8, requires_grad=True)
    target = torch.zeros(1, 3, 8)
    loss = NormalLoss(kind)(normalise(raw), target, torch.zeros(1, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and raw.grad.abs().max() == 0


def test_perfect_pixels_bring_no_nan():
    raw = torch.randn(1, 4, 8, requires_grad=True)
    pred = normalise(raw)
    loss = NormalLoss('angular')(pred, pred[:, :3].detach(), torch.ones(1, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(raw.grad).all()


def test_a_large_kappa_in_half_precision_is_no_infinity():
    pred = normalise(torch.randn(1, 4, 8))
    pred[:, 3] = 400
    target = normalise(torch.randn(1, 4, 8))[:, :3]
    valid = torch.ones(1, 8, dtype=torch.bool)
    half = NormalLoss('nll_angular')(pred.half(), target.half(), valid)
    torch.testing.assert_close(half, NormalLoss('nll_angular')(pred, target, valid), rtol=1e-2, atol=0.5)


def test_unknown_kind():
    with pytest.raises(ValueError, match="one of .*'nll_angular'.* not 'huber'"):
        NormalLoss('huber')
