"""Metrics that MMSegmentation and MMDetection lack."""

from mmengine.registry import METRICS

from ..utils.optional import is_installed, register_placeholders
from .boundary_metric import BoundaryF
from .depth_metric import DepthErrors
from .multi_task_evaluator import MultiTaskEvaluator
from .normal_metric import NormalMetric

__all__ = ['BoundaryF', 'DepthErrors', 'MultiTaskEvaluator', 'NormalMetric']

if is_installed('mmseg'):
    from .map_metrics import MapIoU, SaliencyF

    __all__ += ['MapIoU', 'SaliencyF']
else:
    register_placeholders(METRICS, 'mmseg', 'MapIoU', 'SaliencyF')
