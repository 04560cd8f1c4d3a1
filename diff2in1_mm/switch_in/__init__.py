"""Rewriting configs: the Diff-2-in-1 version of any MMSegmentation or MMDetection config."""
from .maps import BackboneMaps, given_maps, measure_maps
from .rewrite import SwitchOptions, switch_in

__all__ = ['BackboneMaps', 'SwitchOptions', 'given_maps', 'measure_maps', 'switch_in']
