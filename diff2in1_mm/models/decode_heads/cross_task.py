"""What decoders have in common in which tasks learn from one another, before each task's own head."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.values import check_whole, is_number, is_whole

__all__ = ['CrossTaskHead', 'TaskMaps', 'TokenMLP', 'check_decoder', 'conv_block', 'to_tokens']


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
        in_channels (tuple[int, ...]): Of the maps that it was built for, finest first; empty: it does not say.
    """

    in_channels: tuple[int, ...] = ()
    #: So many maps are read, from the coarsest on; None: all.
    _reads: int | None = None

    def __init__(self, out_channels: Mapping[str, int], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.tasks = tuple(out_channels)

    def check_maps(self, channels: Sequence[int]) -> None:
        """Refuses maps of other channels than it was built for.

        Args:
            channels (Sequence[int]): Of the maps that it is given, finest first.

        Raises:
            ValueError: Those that it reads are others, or fewer.
        """
        first = 0 if self._reads is None else -self._reads
        if self.in_channels and tuple(channels)[first:] != self.in_channels[first:]:
            raise UserError(
                f'in_channels = {list(self.in_channels)} of {type(self).__name__} do not fit the maps of neck or '
                f'backbone, which have {list(channels)} channels, finest first: set in_channels to these'
            )

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


def check_decoder(
    kind: str, in_channels: Sequence[int], mlp_ratio: float, drop_path: float, **sizes: Any
) -> tuple[int, ...]:
    """Stop on values out of range that such decoders share.

    Args:
        kind (str): Name of the class, for the message.
        in_channels (Sequence[int]): Of the maps.
        mlp_ratio, drop_path (float): As :class:`TokenMLP` takes them.
        **sizes: Whole numbers of at least 1, by option.

    Returns:
        tuple[int, ...]: ``in_channels``.

    Raises:
        ValueError: One sentence with the option and its range.
    """
    for name, value in sizes.items():
        check_whole(f'{name} of {kind}', value)
    listed = isinstance(in_channels, (list, tuple)) and len(in_channels) > 0
    if not listed or not all(is_whole(one, 1) for one in in_channels):
        raise UserError(
            f'in_channels = {in_channels!r} of {kind} must be a list of the channels of its maps, finest first'
        )
    if not is_number(mlp_ratio, 0) or not mlp_ratio:
        raise UserError(f'mlp_ratio = {mlp_ratio!r} of {kind} must be a number above 0')
    if not is_number(drop_path, 0) or drop_path >= 1:
        raise UserError(f'drop_path = {drop_path!r} of {kind} must be in [0, 1)')
    return tuple(in_channels)
