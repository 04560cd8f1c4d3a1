"""Published checkpoints in our names."""
from .aggregator import convert_aggregator
from .normal_decoder import convert_normal_decoder

__all__ = ['convert_aggregator', 'convert_normal_decoder']
