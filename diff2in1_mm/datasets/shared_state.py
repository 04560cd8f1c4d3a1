"""Small values that the main process and data loader workers see alike, without a restart.

Tensors in shared memory survive fork (the mapping is inherited) and spawn (torch's pickling passes
a handle). A deep copy gets memory of its own, shared again: MMEngine copies data loader configs.
"""

import zlib

import torch
from mmengine.dist import all_reduce

from ..utils.errors import UserError


class SharedTensor:
    """Base: holds ``tensor`` in shared memory."""

    def __init__(self, *size: int, dtype: torch.dtype = torch.int64) -> None:
        self.tensor = torch.zeros(*size, dtype=dtype).share_memory_()

    def __deepcopy__(self, memo: dict) -> 'SharedTensor':
        other = object.__new__(type(self))
        other.tensor = self.tensor.clone().share_memory_()
        memo[id(self)] = other
        return other


class SharedRound(SharedTensor):
    """Which round of the store is served, and how often that was said.

    Both stand in one 64-bit number, so that no reader meets half of a change.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def set(self, round: int) -> None:
        """Serve this round (-1: none); a repeated call counts as a change too."""
        changes = self.get()[0] + 1
        self.tensor[0] = (changes << 32) | (round + 1)

    def get(self) -> tuple:
        """(number of changes so far, round or -1)."""
        value = int(self.tensor[0])
        return value >> 32, (value & 0xFFFFFFFF) - 1


class SharedText(SharedTensor):
    """A short text, such as a path."""

    def __init__(self, text: str = '') -> None:
        super().__init__(4096, dtype=torch.uint8)
        self.set(text)

    def set(self, text: str) -> None:
        """Replaces the text.

        Raises:
            ValueError: Longer than 4095 bytes.
        """
        content = text.encode()
        if len(content) >= len(self.tensor):
            raise UserError(f'a path of {len(content)} bytes is too long: give a shorter one.')
        padded = content.ljust(len(self.tensor), b'\0')
        self.tensor.copy_(torch.frombuffer(bytearray(padded), dtype=torch.uint8))

    def get(self) -> str:
        """The text."""
        return self.tensor.numpy().tobytes().rstrip(b'\0').decode()


class NamedOnce(SharedTensor):
    """A set of names (kept as hashes) across processes: what was warned about already.

    Two of 65536 hashes may coincide; then a warning is lost, never a sample.
    """

    def __init__(self) -> None:
        super().__init__(2**16, dtype=torch.uint8)

    def first(self, name: str) -> bool:
        """Whether this is the first call with this name; notes it."""
        slot = zlib.crc32(name.encode()) % len(self.tensor)
        new = not self.tensor[slot]
        self.tensor[slot] = 1
        return new

    def __len__(self) -> int:
        return int(self.tensor.sum())

    def count_everywhere(self) -> int:
        """Names that any process of a distributed run has met; all have to call this."""
        met = self.tensor.to(torch.int32)
        all_reduce(met, 'max')
        return int(met.sum())
