"""Surface normals."""

from mmengine.registry import MODELS

from .dense_estimator import DenseEstimator
from .maps import NormalMaps


@MODELS.register_module()
class NormalEstimator(NormalMaps, DenseEstimator):
    """Predicts unit normals, and their uncertainty where the head gives four channels.

    Normals are in the camera's frame: x right, y up, z towards the viewer. Samples get
    ``pred_normal_map`` (3, H, W) and, with four channels, ``pred_normal_kappa`` (1, H, W) and
    ``pred_normal_error`` (1, H, W), the angular error in degrees, at most 90, that kappa lets
    expect.

    Args:
        **kwargs: See :class:`DenseEstimator`.
    """

    label_tasks = ('normals',)
