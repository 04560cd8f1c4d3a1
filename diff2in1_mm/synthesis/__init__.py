"""Making data: generator, labelling, the store on disk, and ``create``, which joins them."""
from .raw_labels import to_raw_labels
from .records import SampleRecord
from .store import StoreMismatch, SyntheticStore

__all__ = ['SampleRecord', 'StoreMismatch', 'SyntheticStore', 'to_raw_labels']
