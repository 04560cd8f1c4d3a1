"""Text encoders that are in memory only while they are needed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..condition import Condition

__all__ = ['TextEncoders']


class TextEncoders(ABC):
    """What makes conditions of texts; the encoders are loaded on use and leave memory afterwards."""

    def __init__(self) -> None:
        self._loaded: Any = None
        self._keep = False

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Condition:
        """The condition of images with these prompts: n texts (the empty one is allowed), n rows on the CPU.

        Raises:
            ValueError: A prompt is longer than the text encoders take, or a part of them is missing.
        """

    @abstractmethod
    def _load(self) -> Any:
        """The encoders and their tokenizers, read from disk."""

    @property
    def in_memory(self) -> bool:
        """bool: Whether the text encoders are loaded at present."""
        return self._loaded is not None

    @contextmanager
    def kept(self) -> Iterator['TextEncoders']:
        """Keep the encoders loaded over many calls, for example while captions stream by."""
        self._keep = True
        try:
            yield self
        finally:
            self._keep, self._loaded = False, None

    def negative(self, text: str) -> Condition:
        """What guidance leads away from: one row, the text as any other."""
        return self.embed([text])

    def _load_once(self) -> Any:
        loaded = self._load() if self._loaded is None else self._loaded
        if self._keep:
            self._loaded = loaded
        return loaded
