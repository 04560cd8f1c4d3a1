"""Cross entropy of what is rare."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmseg')

from diff2in1_mm.models.losses.balanced_bce_loss import BalancedBCELoss  # noqa: E402


def test_positive_and_negative_pixels_weigh_as_much_by_the_batch_or_as_told():
    torch.manual_seed(0)
    pred, target = torch.randn(2, 1, 4, 5, requires_grad=True), (torch.rand(2, 4, 5) < 0.3).long()
    target[0, 0] = 255
    known = target != 255
    losses = F.binary_cross_entropy_with_logits(pred[:, 0][known], target[known].float(), reduction='none')
    share = (target[known] == 0).float().mean()
    for given, w in ((None, share), (0.95, 0.95)):
        weights = torch.where(target[known] == 1, w, 1 - w)
        expected = 3 * (weights * losses).mean()
        torch.testing.assert_close(BalancedBCELoss(given, loss_weight=3.0)(pred, target), expected)
    nothing = BalancedBCELoss()(pred, torch.full_like(target, 255))
    nothing.backward()
    assert nothing == 0 and torch.isfinite(pred.grad).all()


def test_bad_weight():
    with pytest.raises(ValueError, match='between 0 and 1'):
        BalancedBCELoss(1.0)
