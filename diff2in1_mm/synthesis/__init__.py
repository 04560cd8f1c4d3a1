"""Making data: generator, labelling, the store on disk, and ``create``, which joins them."""
from .create import CreationReport, check_creation, create
from .partial_noise import Generated, PartialNoiseGenerator
from .raw_labels import to_raw_labels
from .records import SampleRecord
from .settings import CreationSettings
from .store import StoreMismatch, SyntheticStore

__all__ = [
    'CreationReport', 'CreationSettings', 'Generated', 'PartialNoiseGenerator', 'SampleRecord',
    'StoreMismatch', 'SyntheticStore', 'check_creation', 'create', 'to_raw_labels'
]
