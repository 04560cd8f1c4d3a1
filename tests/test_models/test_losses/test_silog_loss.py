"""The loss of depth, weights of the losses of normals, and the expected error."""

import pytest
import torch

from diff2in1_mm.models.losses.normal_loss import NormalLoss
from diff2in1_mm.models.losses.silog_loss import MaskedSiLogLoss
from diff2in1_mm.utils.kappa import expected_angular_error


def test_equals_mmsegmentations():
    silog = pytest.importorskip('mmseg.models.losses.silog_loss').SiLogLoss()
    pred, target = torch.rand(3, 1, 8, 9) * 9 + 0.1, torch.rand(3, 1, 8, 9) * 9 + 0.1
    target[:, :, :3] = 0
    torch.testing.assert_close(MaskedSiLogLoss()(pred, target), silog(pred, target))


def test_no_valid_pixel_and_perfect_agreement_have_a_gradient_of_zero():
    pred = torch.full((2, 1, 4, 4), 3.0, requires_grad=True)
    target = torch.zeros(2, 1, 4, 4)
    target[1] = 3.0
    loss = MaskedSiLogLoss()(pred, target)
    loss.backward()
    assert loss < 1e-3 and (pred.grad == 0).all()


@pytest.mark.parametrize('hole', [float('nan'), float('inf'), -1.0])
def test_holes_of_any_kind_are_invalid(hole):
    pred = (torch.rand(2, 1, 4, 4) + 1).requires_grad_()
    target = torch.rand(2, 1, 4, 4) + 1
    target[0, 0, 0] = 0
    expected = MaskedSiLogLoss()(pred, target)
    target[0, 0, 0] = hole
    loss = MaskedSiLogLoss()(pred, target)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert pred.grad.isfinite().all() and (pred.grad[0, 0, 0] == 0).all()


def test_an_image_without_depth_does_not_count():
    pred, target = torch.rand(2, 1, 4, 4) + 1, torch.rand(2, 1, 4, 4) + 1
    alone = MaskedSiLogLoss()(pred[:1], target[:1])
    target[1] = 0
    torch.testing.assert_close(MaskedSiLogLoss()(pred, target), alone)


def test_weights_of_pixels():
    pred = torch.nn.functional.normalize(torch.randn(2, 3, 5), dim=1)
    target = torch.nn.functional.normalize(torch.randn(2, 3, 5), dim=1)
    weights = torch.rand(2, 5)
    each = (pred - target).abs().sum(1)
    torch.testing.assert_close(NormalLoss('l1')(pred, target, weights), (each * weights).sum() / weights.sum())
    assert NormalLoss('angular')(pred, target, weights * 0) == 0


@pytest.mark.parametrize('kappa', [0.01, 0.5, 3.0, 40.0])
def test_the_expected_error_is_the_mean_of_the_distribution(kappa):
    angle = torch.linspace(0, torch.pi, 200001, dtype=torch.float64)
    density = (-kappa * angle).exp() * angle.sin()
    mean = torch.trapezoid(density * angle, angle) / torch.trapezoid(density, angle)
    found = expected_angular_error(torch.tensor(kappa, dtype=torch.float64))
    torch.testing.assert_close(found, mean.rad2deg(), rtol=1e-5, atol=1e-4)
