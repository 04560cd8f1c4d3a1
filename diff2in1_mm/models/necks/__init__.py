"""Necks between a diffusion backbone and a head."""

from .diffusion_aggregator import DiffusionAggregator

__all__ = ['DiffusionAggregator']
