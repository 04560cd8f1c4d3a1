"""Metric depth."""

from mmengine.registry import MODELS

from .dense_estimator import DenseEstimator
from .maps import DepthMaps


@MODELS.register_module()
class DepthMapEstimator(DepthMaps, DenseEstimator):
    """Predicts depth in metres: samples get ``pred_depth_map`` (1, H, W).

    In place of MMSegmentation's ``DepthEstimator``, whose 'slide' mode is overwritten by 'whole',
    and which runs windows and their mirror images one by one. It takes the same heads.

    Args:
        **kwargs: See :class:`DenseEstimator`.
    """

    label_tasks = ('depth',)
