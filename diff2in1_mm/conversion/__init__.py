"""Published checkpoints in our names."""
from .aggregator import convert_aggregator

__all__ = ['convert_aggregator']
