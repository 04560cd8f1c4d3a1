"""Drawing a fixed part of a data set."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ..utils.errors import UserError

Item = TypeVar('Item')


def draw_subset(items: Sequence[Item], number: int | None, seed: int) -> list[Item]:
    """Draws ``number`` items without replacement, in their original order.

    The draw depends on the number of items, ``number`` and ``seed`` only (RandomState's stream is
    frozen by numpy), and a smaller draw with the same seed is part of a larger one.

    Args:
        items: In an order that does not depend on the machine.
        number: How many; None: all.
        seed: Of the draw, >= 0.

    Raises:
        ValueError: More than there are, or less than one.
    """
    if number is None:
        return list(items)
    if not 1 <= number <= len(items):
        raise UserError(
            f'num_labelled={number} cannot be drawn from {len(items)} labelled images:'
            f' give a number from 1 to {len(items)}, or None for all.'
        )
    chosen = np.random.RandomState(seed).permutation(len(items))[:number]
    return [items[i] for i in sorted(chosen)]
