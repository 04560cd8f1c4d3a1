"""Estimators of dense maps that MMSegmentation has no sound class for."""

from .dense_estimator import DenseEstimator
from .depth_estimator import DepthMapEstimator
from .normal_estimator import NormalEstimator

__all__ = ['DenseEstimator', 'DepthMapEstimator', 'NormalEstimator']
