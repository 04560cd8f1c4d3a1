"""What a diffusion model is told about a batch of images, in the form in which it takes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """The condition of N images, or one row that holds for all.

    A family of models takes of it what it knows; the fields that it does without are None or empty.

    Attributes:
        sequence: Tokens for cross or joint attention, shape (N, L, C). L and C are 0 for a model
            that is told nothing.
        pooled: One vector per image beside the tokens, shape (N, D); None where there is none.
        mask: Which tokens count, shape (N, L), of any dtype; None: all of them.
        extras: What only one family knows, by name, each of N rows.
    """

    sequence: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sequence)

    def apply(self, function: Callable[[Tensor], Tensor]) -> 'Condition':
        """A condition of what a function makes of each tensor.

        Args:
            function (Callable): From a tensor to one of as many rows as all others get.

        Returns:
            Condition: A new one.
        """
        return Condition(
            function(self.sequence),
            None if self.pooled is None else function(self.pooled),
            None if self.mask is None else function(self.mask),
            {name: function(tensor) for name, tensor in self.extras.items()},
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> 'Condition':
        """On a device, and where it holds real numbers in a dtype; does not wait for the device.

        Args:
            device (torch.device): Where to.
            dtype (torch.dtype): Of all that is floating point; masks and ids keep theirs.

        Returns:
            Condition: Tensors that are there already are not copied.
        """
        return self.apply(lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype, non_blocking=True))

    def expand(self, n: int) -> 'Condition':
        """As many rows as a batch has, without copying.

        Args:
            n (int): Images. A condition of several rows must have this many.

        Returns:
            Condition: Of n rows.

        Raises:
            RuntimeError: It has several rows, and another number of them.
        """
        return self.apply(lambda t: t.expand(n, *t.shape[1:]))

    def rows(self) -> list['Condition']:
        """Each row alone, without the tokens that its mask leaves out, and then without a mask.

        Returns:
            list[Condition]: N of one row, with memory of their own; :meth:`cat` gives the same condition back but for
            tokens that no row counted.
        """
        rows = [self.apply(partial(torch.narrow_copy, dim=0, start=i, length=1)) for i in range(len(self))]
        return [
            row if row.mask is None else Condition(row.sequence[:, row.mask[0].bool()], row.pooled, None, row.extras)
            for row in rows
        ]

    @staticmethod
    def cat(conditions: Sequence['Condition']) -> 'Condition':
        """The rows of several conditions.

        Args:
            conditions (Sequence[Condition]): With the same fields but for masks. Where their numbers of tokens differ,
                zeros follow the shorter ones, which the mask then leaves out.

        Returns:
            Condition: All rows in order; masked if one of them was, or if numbers of tokens differ.

        Raises:
            ValueError: A field is set in some only.
        """
        first = conditions[0]
        fields = [(c.pooled is None, set(c.extras)) for c in conditions]
        if any(own != fields[0] for own in fields):
            raise ValueError('conditions of one batch must have the same fields')
        length = max(c.sequence.shape[1] for c in conditions)
        masks = None
        if any(c.mask is not None or c.sequence.shape[1] < length for c in conditions):
            masks = torch.cat([F.pad(c._mask_or_ones(), (0, length - c.sequence.shape[1])) for c in conditions])
        pooled = [c.pooled for c in conditions if c.pooled is not None]
        return Condition(
            torch.cat([F.pad(c.sequence, (0, 0, 0, length - c.sequence.shape[1])) for c in conditions]),
            torch.cat(pooled) if pooled else None,
            masks,
            {name: torch.cat([c.extras[name] for c in conditions]) for name in first.extras},
        )

    def _mask_or_ones(self) -> Tensor:
        return self.sequence.new_ones(self.sequence.shape[:2], dtype=torch.int64) if self.mask is None else self.mask
