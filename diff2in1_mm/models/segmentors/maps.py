"""What kinds of predicted maps are: how a flip changes them, what makes them valid, and the fields of a sample."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.kappa import expected_angular_error

__all__ = ['FLIPPED_AXES', 'BinaryMaps', 'DepthMaps', 'Maps', 'NormalMaps', 'PartMaps', 'SegmentationMaps']

# Axes of maps (..., H, W) that a flip of MMCV's RandomFlip mirrors.
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


class Maps:
    """A kind of map; the defaults fit values that a flip only moves."""

    def unflip(self, maps: Tensor, direction: str = 'horizontal') -> Tensor:
        """Maps (N, C, H, W) of a mirrored image as maps of the image itself.

        Args:
            maps (Tensor): (N, C, H, W).
            direction (str): 'horizontal', 'vertical', or 'diagonal' for both.
        """
        return maps.flip(FLIPPED_AXES[direction])

    def finish(self, maps: Tensor) -> Tensor:
        """What makes interpolated or averaged maps (N, C, H, W) valid again."""
        return maps

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """Name in the data sample -> (C, H, W), of the finished map (C, H, W) of one image."""
        raise NotImplementedError


class SegmentationMaps(Maps):
    """Scores of classes.

    Args:
        threshold (float): Of the only channel's probability, where there is one.
    """

    def __init__(self, threshold: float = 0.3) -> None:
        self.threshold = threshold

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """``seg_logits`` and ``pred_sem_seg``, class indices (1, H, W), as MMSegmentation's segmentors give them."""
        labels = maps.argmax(0, keepdim=True) if len(maps) > 1 else (maps.sigmoid() > self.threshold).long()
        return dict(seg_logits=maps, pred_sem_seg=labels)


class PartMaps(Maps):
    """Scores of parts."""

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """``pred_part_map``, indices (1, H, W)."""
        return dict(pred_part_map=maps.argmax(0, keepdim=True))


class BinaryMaps(Maps):
    """Logits of boundaries, or of what is salient.

    Args:
        name (str): Of the field.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """The field, probabilities (1, H, W)."""
        return {self.name: maps.float().sigmoid()}


class DepthMaps(Maps):
    """Metres."""

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """``pred_depth_map``."""
        return dict(pred_depth_map=maps)


class NormalMaps(Maps):
    """Unit vectors in the camera's frame, and kappa where there is a fourth channel."""

    def unflip(self, maps: Tensor, direction: str = 'horizontal') -> Tensor:
        """A mirror image's normals point the other way along the mirrored axis."""
        sign = maps.new_ones(maps.shape[1])
        for axis in FLIPPED_AXES[direction]:
            sign[-1 - axis] = -1  # x lies along the last axis, y along the one before
        return Maps.unflip(self, maps, direction) * sign.view(-1, 1, 1)

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
