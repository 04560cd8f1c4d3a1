"""Heads for tasks that MMSegmentation lacks."""
from .normal_decoder import NormalDecoder

__all__ = ['NormalDecoder']
