"""Labels of a batch that follow known shares of the classes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils.errors import UserError
from ..utils.values import is_number

__all__ = ['ClassProportions']

_PIXELS = 65536  # of a batch, evenly spaced, from which the offsets are found
_ITERATIONS = 50


class ClassProportions:
    """Class probabilities of pixels, brought towards known shares of the classes by Sinkhorn's iteration.

    Of all assignments of the pixels of a batch, each of which has one pixel to give, the one nearest to the
    probabilities whose classes get their shares (Cuturi 2013; for pseudo labels Asano et al. 2020). That of a pixel is
    ``softmax(log p + offset)`` with an offset for each class, as where only the shares of classes have changed between
    two sets (Saerens et al. 2002).

    Args:
        shares (Sequence[float]): Of the labelled pixels, one for each class; they are made to sum to 1.
        strength (float): How far the batch follows them, above 0 to 1: below 1 the bound is a soft one (unbalanced
            transport, Chizat et al. 2018), for batches that show other things than the average. Default 1.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(self, shares: Sequence[float], strength: float = 1.0) -> None:
        if not isinstance(shares, Sequence) or len(shares) < 2 or not all(is_number(share, 0) for share in shares):
            raise UserError(
                f'labelling.proportions = {shares!r} must be the share of labelled pixels of each class, such as '
                '[0.6, 0.3, 0.1]'
            )
        if not sum(shares) > 0:
            raise UserError('labelling.proportions are all 0: count the labelled pixels of each class again')
        if not is_number(strength, 0, 1) or strength == 0:
            raise UserError(f'labelling.proportions_strength = {strength!r} must be above 0 and at most 1')
        total = sum(shares)
        # a class that labels do not show gets next to nothing, not minus infinity
        self.shares = [max(share / total, 1e-6) for share in shares]
        self.strength = strength

    def check_classes(self, count: int) -> None:
        """Name another number of classes than the model has.

        Raises:
            ValueError: There is another.
        """
        if len(self.shares) != count:
            raise UserError(f'labelling.proportions has {len(self.shares)} classes, but the model {count}')

    def follow(self, logarithms: Tensor, counted: Tensor | None = None) -> Tensor:
        """Probabilities that follow the shares.

        Args:
            logarithms (Tensor): Of the probabilities of every class, (N, C, H, W).
            counted (Tensor | None): Which pixels have the shares together, bool (N, H, W), such as those that are no
                padding. None: all.

        Returns:
            Tensor: Probabilities, same shape.
        """
        return (logarithms + self.offsets(logarithms, counted)[:, None, None]).softmax(1)

    def offsets(self, logarithms: Tensor, counted: Tensor | None = None) -> Tensor:
        """What is added to each class, (C,), of arguments of :meth:`follow`; does not wait for the device."""
        rows = logarithms.movedim(1, -1).flatten(0, -2)
        step = max(1, len(rows) // _PIXELS)
        rows = rows[::step].float()
        left_out = (
            rows.new_zeros(len(rows), 1, dtype=torch.bool) if counted is None else ~counted.flatten()[::step, None]
        )
        total = (~left_out).sum().clamp_min(1).log()
        wanted = rows.new_tensor(self.shares).log()
        offsets = torch.zeros_like(wanted)
        for _ in range(_ITERATIONS):
            assigned = (rows + offsets).log_softmax(1)
            mass = assigned.masked_fill(left_out, -math.inf).logsumexp(0) - total
            offsets = self.strength * (offsets + wanted - mass)
        return offsets - offsets.mean()
