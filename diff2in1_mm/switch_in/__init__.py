"""Rewriting configs: the Diff-2-in-1 version of MMSegmentation's and MMDetection's."""

from .maps import BackboneMaps, given_maps, measure_maps
from .options import SwitchOptions
from .rewrite import switch_in

__all__ = ['BackboneMaps', 'SwitchOptions', 'given_maps', 'measure_maps', 'switch_in']
