"""Making samples: which, by what generator, with what label."""

from .create import CreationReport, create
from .generator import Generated, PartialNoiseGenerator
from .settings import CreationSettings

__all__ = ['CreationReport', 'CreationSettings', 'Generated', 'PartialNoiseGenerator', 'create']
