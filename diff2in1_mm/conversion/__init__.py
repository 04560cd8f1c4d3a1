"""Published checkpoints in our names."""

from .aggregator import convert_aggregator
from .converted import Converted, Keys
from .folder import check_target, write_folder
from .normal_decoder import convert_normal_decoder
from .report import summary
from .sources import SOURCES, convert, recognise
from .text_adapter import fold_text_adapter

__all__ = [
    'Converted',
    'Keys',
    'SOURCES',
    'check_target',
    'convert',
    'convert_aggregator',
    'convert_normal_decoder',
    'fold_text_adapter',
    'recognise',
    'summary',
    'write_folder',
]
