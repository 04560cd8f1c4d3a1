"""The loss over the scales of a refined prediction, against the reference."""
import pytest
import torch

from diff2in1_mm.models.decode_heads.normal_decoder import normalise
from diff2in1_mm.models.losses import MultiscaleNormalLoss
from tests.golden_values import Golden
from tests.test_models.test_losses.test_normal_loss import construct


def scales(values):
    """Predictions and coordinates as the golden file describes them, float64."""
    pairs = [(normalise(values.input('pred_res8_raw').double()).requires_grad_(), None)]
    for scale in (4, 2, 1):
        pred = normalise(values.input(f'pred_res{scale}_raw').double())
        up = torch.tensor([0., 0., 1.], dtype=torch.float64)[:, None]
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
    assert total.item() == pytest.approx(values.spec['loss_values'][f'{name}.f64']['value'],
                                         rel=1e-8)
    total.backward()
    for i, (pred, _) in enumerate(pairs):
        assert values.error(f'{name}.f64.grad_pred{i}', pred.grad) < 1e-8


def test_no_ground_truth_contributes_nothing():
    pred = normalise(torch.randn(1, 4, 6, 8)).requires_grad_()
    points = normalise(torch.randn(1, 4, 5)).requires_grad_()
    where = torch.rand(1, 1, 5, 2) * 2 - 1
    loss = MultiscaleNormalLoss()([(pred, None), (points, where)], torch.zeros(1, 3, 12, 16),
                                  torch.zeros(1, 12, 16, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and pred.grad.abs().max() == 0
