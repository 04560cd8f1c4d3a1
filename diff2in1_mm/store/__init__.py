"""The folder of synthetic samples, and what it records of each."""

from .records import SampleRecord
from .store import StoreMismatch, SyntheticStore

__all__ = ['SampleRecord', 'StoreMismatch', 'SyntheticStore']
