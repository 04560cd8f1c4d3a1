"""Metrics that MMSegmentation and MMDetection lack."""

from .depth_metric import DepthErrors
from .normal_metric import NormalMetric

__all__ = ['DepthErrors', 'NormalMetric']
