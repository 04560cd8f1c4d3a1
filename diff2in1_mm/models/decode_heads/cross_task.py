"""What decoders have in common in which tasks learn from one another, before each task's own head."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn

__all__ = ['CrossTaskHead', 'TaskMaps', 'TokenMLP', 'conv_block', 'to_tokens']


class TaskMaps(NamedTuple):
    """What a cross-task decoder gives.

    Attributes:
        features: Task -> map (N, ``width``, h, w) for the task's head.
        early: Task -> preliminary prediction (N, C, h', w') that is learned, too; empty without.
    """

    features: dict[str, Tensor]
    early: dict[str, Tensor]


class CrossTaskHead(BaseModule):
    """Maps of the backbone or neck to one map for each task.

    ``MultiTaskEstimator`` builds it and tells the tasks; each head then takes a single map of
    ``width`` channels (``in_channels=[width], in_index=[0]`` and so on).

    Args:
        out_channels (Mapping[str, int]): Task -> channels of its head's prediction; told by the estimator.
        init_cfg (dict | None): As in MMEngine.

    Attributes:
        tasks (tuple[str, ...]): In the order of the heads.
    """

    def __init__(self, out_channels: Mapping[str, int], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.tasks = tuple(out_channels)

    @abstractmethod
    def forward(self, inputs: Sequence[Tensor]) -> TaskMaps:
        """Maps (N, C, h, w), finest first, to those of the tasks."""


class TokenMLP(nn.Module):
    """Norm and two layers over tokens (N, L, C), with a residual path that is dropped at random.

    Args:
        width (int): C.
        ratio (float): Of the hidden width.
        drop_path (float): Probability.
    """

    def __init__(self, width: int, ratio: float, drop_path: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) both."""
        return tokens + self.drop_path(self.layers(tokens))


def conv_block(in_channels: int, out_channels: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """3x3 convolution, batch norm, activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), activation()
    )


def to_tokens(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, C, h, w) of one size as tokens (N, len(maps) h w, C), one map behind the other."""
    return torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2)
