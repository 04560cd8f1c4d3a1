"""A store's samples in the formats of other tools, and corrected labels from there."""

from .table import FORMATS, READERS, export, import_labels

__all__ = ['FORMATS', 'READERS', 'export', 'import_labels']
