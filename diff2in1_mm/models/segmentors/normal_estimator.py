"""Surface normals."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from ...utils.normals import expected_angular_error
from .dense_estimator import FLIPPED_AXES, DenseEstimator


@MODELS.register_module()
class NormalEstimator(DenseEstimator):
    """Predicts unit normals, and their uncertainty where the head gives four channels.

    Normals are in the camera's frame: x right, y up, z towards the viewer. Samples get
    ``pred_normal_map`` (3, H, W) and, with four channels, ``pred_normal_kappa`` (1, H, W) and
    ``pred_normal_error`` (1, H, W), the angular error in degrees, at most 90, that kappa lets
    expect.

    Args:
        **kwargs: See :class:`DenseEstimator`.
    """

    label_tasks = ('normals',)

    def unflip(self, maps: Tensor, direction: str = 'horizontal') -> Tensor:
        """A mirror image's normals point the other way along the mirrored axis."""
        return flip_vectors(super().unflip(maps, direction), direction)

    def finish(self, maps: Tensor) -> Tensor:
        """Unit length; a vector of no length stays so."""
        return torch.cat([F.normalize(maps[:, :3], dim=1), maps[:, 3:]], dim=1)

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """``pred_normal_map``, ``pred_normal_kappa`` and ``pred_normal_error``."""
        found = dict(pred_normal_map=maps[:3])
        if len(maps) > 3:
            found['pred_normal_kappa'] = maps[3:]
            found['pred_normal_error'] = expected_angular_error(maps[3:].float())
        return found


def flip_vectors(maps: Tensor, direction: str) -> Tensor:
    """Negate the components of normals (N, 3 or more, H, W) along the axes that a flip mirrors."""
    sign = maps.new_ones(maps.shape[1])
    for axis in FLIPPED_AXES[direction]:
        sign[-1 - axis] = -1  # x lies along the last axis, y along the one before
    return maps * sign.view(-1, 1, 1)
