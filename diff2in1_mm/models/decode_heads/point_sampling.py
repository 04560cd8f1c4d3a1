"""Where a refinement is trained: uncertain pixels first (Bae et al., after PointRend)."""

import torch
import torch.nn.functional as F
from torch import Tensor

_NEVER = -1e4  # uncertainty of pixels without ground truth


def sample_points(kappa: Tensor, mask: Tensor | None, sampling_ratio: float, importance_ratio: float) -> Tensor:
    """Pixels to refine: the least certain ones, and a random part of the others.

    Args:
        kappa (Tensor): Concentration of the coarse prediction, (N, H, W).
        mask (Tensor | None): Where there is ground truth, bool (N, 1, h, w) of any size. Other
            pixels are not uncertain, but can be drawn at random, as in the released code.
        sampling_ratio (float): Share of the pixels that is drawn.
        importance_ratio (float): Share of these that are the least certain ones.

    Returns:
        Tensor: Flat indices ``y * W + x``, int64 (N, P), the least certain first.
    """
    uncertainty = -kappa
    if mask is not None:
        valid = F.interpolate(mask.float(), kappa.shape[-2:], mode='nearest')[:, 0] >= 0.5
        uncertainty = torch.where(valid, uncertainty, _NEVER)
    order = uncertainty.flatten(1).sort(dim=1, descending=True).indices
    count = int(sampling_ratio * order.shape[1])
    important = int(importance_ratio * count)
    rest = order[:, important:]
    # a random permutation of each row at once
    shuffled = torch.rand(rest.shape, device=rest.device).argsort(dim=1)
    chosen = rest.gather(1, shuffled[:, : count - important])
    return torch.cat([order[:, :important], chosen], dim=1)


def to_coordinates(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Flat indices (N, P) as ``grid_sample`` wants them with ``align_corners=True``.

    Args:
        points (Tensor): Flat indices, int64 (N, P).
        size (tuple[int, int]): Height and width of the map.

    Returns:
        Tensor: (x, y) in [-1, 1], float32 (N, 1, P, 2).
    """
    height, width = size
    x = (points % width).float() / max(width - 1, 1) * 2 - 1
    y = (points // width).float() / max(height - 1, 1) * 2 - 1
    return torch.stack([x, y], dim=-1)[:, None]


def read_points(maps: Tensor, coordinates: Tensor, mode: str = 'bilinear') -> Tensor:
    """Values of maps at points.

    Args:
        maps (Tensor): (N, C, h, w).
        coordinates (Tensor): As :func:`to_coordinates` gives them, (N, 1, P, 2).
        mode (str): 'bilinear' or 'nearest'. Default 'bilinear'.

    Returns:
        Tensor: (N, C, P), in the dtype of the maps.
    """
    # half-precision coordinates would be a pixel off in maps of 512: the maps give way
    wide = torch.promote_types(maps.dtype, torch.float32)
    found = F.grid_sample(maps.to(wide), coordinates.to(wide), mode=mode, align_corners=True)
    return found[:, :, 0].to(maps.dtype)
