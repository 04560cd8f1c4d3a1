"""A cache of values that take long to make; the least recently used leave it first."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any


class Kept:
    """Values by their keys, of which those stay that were asked for last.

    Args:
        most (int): Values that stay.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: dict[Hashable, Any] = {}  # the one that was asked for longest ago comes first

    def __len__(self) -> int:
        return len(self._values)

    def get(self, keys: Sequence, make: Callable[[list], Iterable]) -> list:
        """A value for each key; ``make`` gives those of all keys that are not kept, at once and in order."""
        wanted = list(dict.fromkeys(keys))
        missing = [key for key in wanted if key not in self._values]
        made = dict(zip(missing, make(missing))) if missing else {}
        found = {key: made[key] if key in made else self._values.pop(key) for key in wanted}
        self._values.update(found)
        while len(self._values) > self.most:
            del self._values[next(iter(self._values))]
        return [found[key] for key in keys]
