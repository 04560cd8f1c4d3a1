"""Metrics that MMSegmentation and MMDetection lack."""
from .normal_metric import NormalMetric

__all__ = ['NormalMetric']
