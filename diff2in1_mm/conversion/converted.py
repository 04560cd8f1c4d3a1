"""What a conversion works on and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..diffusion.loading.parts import Parts


class Keys:
    """A published state dict that notes what becomes of each of its keys.

    Args:
        state (Mapping[str, Tensor]): By the names of the source.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self._used: dict[str, None] = {}
        self._left: dict[str, str] = {}

    def take(self, prefix: str, ours: str = '') -> dict[str, Tensor]:
        """The remaining weights whose names begin with ``prefix``, with ``ours`` in its place."""
        found = [
            key for key in self.state if key.startswith(prefix) and key not in self._left and key not in self._used
        ]
        self._used.update(dict.fromkeys(found))
        return {ours + key[len(prefix) :]: self.state[key] for key in found}

    def leave(self, reason: str, *prefixes: str) -> None:
        """Say why the keys that begin with these are not used; call it before :meth:`take`."""
        self._left.update({key: reason for key in self.state if key.startswith(prefixes)})

    @property
    def used(self) -> list[str]:
        """list[str]: Keys that were taken, in the order of the source."""
        return [key for key in self.state if key in self._used]

    @property
    def unused(self) -> dict[str, str]:
        """dict[str, str]: Key that was not taken -> reason."""
        return {key: self._left.get(key, 'not known to the converter') for key in self.state if key not in self._used}


@dataclass
class Converted:
    """A published model in our names.

    Attributes:
        keys: Of the source, and what became of each.
        weights: State dict of neck and head, without the backbone's.
        parts: The diffusion model, where the source brings one.
        embeddings: Tokens of the condition, (L, C), where the source brings some.
        base: Name of our config that the model's inherits; None where there is no task.
        model: What the config changes in ``model``.
        other_generator: Whether the base's self-improving stage has to generate with another
            diffusion model, since the source's was tuned for perception or has no decoder.
        missing: Name of ours that the source lacks -> what was done about it.
        notes: Sentences for the report.
    """

    keys: Keys
    weights: dict[str, Tensor] = field(default_factory=dict)
    parts: Parts | None = None
    embeddings: Tensor | None = None
    base: str | None = None
    model: dict = field(default_factory=dict)
    other_generator: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
