"""Surface normals."""
from typing import Dict

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .dense_estimator import DenseEstimator


@MODELS.register_module()
class NormalEstimator(DenseEstimator):
    """Predicts unit normals, and their concentration kappa where the head gives four channels.

    Normals are in the camera's frame: x right, y up, z towards the viewer. Samples get
    ``pred_normal_map`` (3, H, W) and, with four channels, ``pred_normal_kappa`` (1, H, W).

    Args:
        **kwargs: See :class:`DenseEstimator`.
    """

    def unflip(self, maps: Tensor, direction: str = 'horizontal') -> Tensor:
        """A mirror image's normals point the other way along the mirrored axis."""
        return flip_vectors(super().unflip(maps, direction), direction)

    def finish(self, maps: Tensor) -> Tensor:
        """Unit length; a vector of no length stays so."""
        return torch.cat([F.normalize(maps[:, :3], dim=1), maps[:, 3:]], dim=1)

    def fields(self, maps: Tensor) -> Dict[str, Tensor]:
        """``pred_normal_map`` and ``pred_normal_kappa``."""
        found = dict(pred_normal_map=maps[:3])
        if len(maps) > 3:
            found['pred_normal_kappa'] = maps[3:]
        return found


def flip_vectors(maps: Tensor, direction: str) -> Tensor:
    """Negate the component of normals (N, 3 or more, H, W) along a flip's direction."""
    sign = maps.new_ones(maps.shape[1])
    sign[0 if direction == 'horizontal' else 1] = -1
    return maps * sign.view(-1, 1, 1)
