"""Estimators of dense maps that MMSegmentation has no sound class for."""

from .dense_estimator import DenseEstimator
from .depth_estimator import DepthMapEstimator
from .multi_task_estimator import MultiTaskEstimator
from .normal_estimator import NormalEstimator

__all__ = ['DenseEstimator', 'DepthMapEstimator', 'MultiTaskEstimator', 'NormalEstimator']
