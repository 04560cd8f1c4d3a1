"""Estimators of dense maps that MMSegmentation has no sound class for."""

from .batched_tta import BatchedSegTTAModel
from .dense_estimator import DenseEstimator
from .depth_estimator import DepthMapEstimator
from .multi_task_estimator import MultiTaskEstimator
from .normal_estimator import NormalEstimator
from .windows import batch_windows

__all__ = [
    'BatchedSegTTAModel',
    'DenseEstimator',
    'DepthMapEstimator',
    'MultiTaskEstimator',
    'NormalEstimator',
    'batch_windows',
]
