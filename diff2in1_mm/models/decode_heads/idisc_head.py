"""Internal discretisation (Piccinelli, Sakaridis and Yu, CVPR 2023) on FPN's maps."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ...utils.values import check_choice
from .head_losses import check_without_kappa, cosine_and_l1, sum_losses
from .targets import batch_size_of, depth_target, normal_target, resized

_TASKS = dict(normals=3, depth=1)


class Partitioning(BaseModule):
    """Adaptive feature partitioning: learned priors compete for the pixels of one map.

    The attention is normalised over the priors, so that each pixel is shared out among them, as in
    slot attention (section 3.1 of the paper).

    Args:
        channels (int): Of the map and of the result.
        count (int): Number of internal discrete representations.
        iterations (int): Of the competition, with the same weights.
    """

    def __init__(self, channels: int, count: int, iterations: int) -> None:
        super().__init__()
        self.priors = nn.Parameter(torch.randn(1, count, channels) * channels**-0.5)
        self.iterations, self.scale = iterations, channels**-0.5
        self.norm_map, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.mlp = _mlp(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, count, C)."""
        key, value = self.key_value(self.norm_map(maps.flatten(2).transpose(1, 2))).chunk(2, -1)
        found = self.priors.expand(len(maps), -1, -1)
        for _ in range(self.iterations):
            attention = self.query(self.norm(found)) @ key.transpose(1, 2) * self.scale
            shares = attention.softmax(dim=1)  # over the priors
            shares = shares / (shares.sum(dim=2, keepdim=True) + 1e-6)
            found = found + shares @ value
            found = found + self.mlp(found)
        return found


class Discretisation(BaseModule):
    """Internal scene discretisation: pixels of a map read the representations of one scale.

    Args:
        channels (int): Of both.
        layers (int): Cross-attention blocks.
        heads (int): Of the attention.
    """

    def __init__(self, channels: int, layers: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.ModuleList(nn.MultiheadAttention(channels, heads, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.mlps = nn.ModuleList(_mlp(channels) for _ in range(layers))

    def forward(self, maps: Tensor, found: Tensor) -> Tensor:
        """(N, C, h, w) and (N, count, C) -> (N, C, h, w)."""
        pixels = maps.flatten(2).transpose(1, 2)
        for attention, norm, mlp in zip(self.attention, self.norms, self.mlps):
            pixels = pixels + attention(norm(pixels), found, found, need_weights=False)[0]
            pixels = pixels + mlp(pixels)
        return pixels.transpose(1, 2).view_as(maps)


@MODELS.register_module()
class IDiscHead(BaseModule):
    """A head after iDisc: representations are found on coarse maps and read on finer ones.

    Written from the paper, without its deformable pixel decoder (FPN takes its place), so its
    checkpoints do not load.

    Args:
        task (str): 'normals' or 'depth'.
        in_channels (int): Of every map of the neck.
        in_index (Sequence[int]): Maps to read, finest first; each is discretised by the next
            coarser one of the neck. Default (0, 1, 2).
        count (int): Internal discrete representations per scale. Default 32.
        iterations (int): Of the partitioning. Default 2.
        layers (int): Of the discretisation. Default 2.
        heads (int): Of the attention. Default 4.
        max_depth (float): Metres, for depth. Default 10.
        loss_decode (dict | list | None): Default: cosine and L1, or ``MaskedSiLogLoss``.
        init_cfg (dict | None): As in MMEngine.

    Raises:
        ValueError: Unknown task, or a loss that needs kappa, which this head does not predict.
    """

    align_corners = False

    def __init__(
        self,
        task: str,
        in_channels: int,
        in_index: Sequence[int] = (0, 1, 2),
        count: int = 32,
        iterations: int = 2,
        layers: int = 2,
        heads: int = 4,
        max_depth: float = 10.0,
        loss_decode: Any = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('task of IDiscHead', task, _TASKS)
        self.task, self.in_index, self.max_depth = task, tuple(in_index), max_depth
        self.learns = task
        self.out_channels = self.num_classes = _TASKS[task]
        self.partition = nn.ModuleList(Partitioning(in_channels, count, iterations) for _ in in_index)
        self.discretise = nn.ModuleList(Discretisation(in_channels, layers, heads) for _ in in_index)
        self.outputs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, in_channels, 3, padding=1),
                nn.GELU(),
                nn.Conv2d(in_channels, self.out_channels, 1),
            )
            for _ in in_index
        )
        if loss_decode is None:
            loss_decode = dict(type='MaskedSiLogLoss') if task == 'depth' else cosine_and_l1()
        listed = loss_decode if isinstance(loss_decode, (list, tuple)) else [loss_decode]
        self.loss_decode = nn.ModuleList(MODELS.build(loss) for loss in listed)
        check_without_kappa('IDiscHead', self.loss_decode)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Raw values (N, 3 or 1, h, w) at the finest map's size, averaged over the scales."""
        size = inputs[self.in_index[0]].shape[-2:]
        found: list[Tensor] = []
        for i, partition, discretise, output in zip(self.in_index, self.partition, self.discretise, self.outputs):
            coarser = inputs[min(i + 1, len(inputs) - 1)]
            found.append(resized(output(discretise(inputs[i], partition(coarser))), size))
        return torch.stack(found).mean(dim=0)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any) -> dict:
        """The losses at the ground truth's size."""
        target = normal_target(batch_data_samples) if self.task == 'normals' else (depth_target(batch_data_samples),)
        pred = self._finish(resized(self(inputs), target[0].shape[-2:]))
        return sum_losses(self.loss_decode, pred, *target)

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: Sequence[dict], test_cfg: Any) -> Tensor:
        """Unit normals (N, 3, H, W) or metres (N, 1, H, W) at the size of the batch."""
        return self._finish(resized(self(inputs), batch_size_of(batch_img_metas)))

    def _finish(self, maps: Tensor) -> Tensor:
        if self.task == 'normals':
            return F.normalize(maps, dim=1)
        return maps.sigmoid() * self.max_depth


def _mlp(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
    )
