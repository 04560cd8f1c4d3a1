"""Spatial-channel prompting of TaskPrompter: learned tokens of the tasks pick places and channels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.values import is_whole
from .cross_task import CrossTaskHead, TaskMaps, TokenMLP, check_decoder, conv_block, to_tokens
from .targets import resized

__all__ = ['TaskPrompterHead']


@MODELS.register_module()
class TaskPrompterHead(CrossTaskHead):
    """Spatial-channel prompt learning (Ye and Xu, TaskPrompter, ICLR 2023), written from the paper, as a decoder.

    The paper has its prompts in the layers of a ViT; here the maps of a backbone, frozen or not, are joined
    to tokens of one size, and ``layers`` such layers follow. In each, prompts and tokens attend to one another
    (spatial prompts, section 3.2), and the prompts, projected to the length of a channel, attend to the channels
    (channel prompts). The affinities of a task's prompt with places and with channels weigh the tokens ("dense
    spatial-channel task prompt decoding", section 3.3); what comes of all layers is added up, at four times the size
    of the tokens.

    Args:
        in_channels (Sequence[int]): Of the maps, finest first.
        out_channels (Mapping[str, int]): Told by the estimator.
        channels (int): Of the tokens; a multiple of ``num_heads``. Default 768, ViT-B's.
        width (int): Of the map that a head gets. Default 384.
        layers (int): Default 4, as many as the paper decodes from.
        num_heads (int): Default 12.
        level (int): Index of the map whose size the tokens have. Default -2, the second coarsest.
        grid (int): Channels are looked at as ``grid`` x ``grid`` pooled values, for images of any size. Default 8.
        mlp_ratio (float): Default 4.
        drop_path (float): Default 0.15.
        init_cfg (dict | None): As in MMEngine.

    Raises:
        ValueError: ``channels`` is no multiple of ``num_heads``, or an option out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Mapping[str, int],
        channels: int = 768,
        width: int = 384,
        layers: int = 4,
        num_heads: int = 12,
        level: int = -2,
        grid: int = 8,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.15,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(out_channels, init_cfg)
        sizes = dict(channels=channels, width=width, layers=layers, num_heads=num_heads, grid=grid)
        self.in_channels = check_decoder('TaskPrompterHead', in_channels, mlp_ratio, drop_path, **sizes)
        if channels % num_heads:
            raise UserError(f'channels = {channels} of TaskPrompterHead must be a multiple of num_heads = {num_heads}')
        if not is_whole(level, -len(in_channels)) or level >= len(in_channels):
            raise UserError(
                f'level = {level!r} of TaskPrompterHead must be the index of one of the {len(in_channels)} maps of '
                f'in_channels: from {-len(in_channels)} to {len(in_channels) - 1}'
            )
        self.level = level
        self.join = nn.Conv2d(sum(in_channels), channels, 1)
        self.prompts = nn.Parameter(nn.init.trunc_normal_(torch.empty(len(self.tasks), channels), mean=1.0))
        self.layers = nn.ModuleList(_Layer(channels, num_heads, grid, mlp_ratio, drop_path) for _ in range(layers))
        self.decode: Any = nn.ModuleList(
            nn.ModuleDict({task: _Decoding(channels, width) for task in self.tasks}) for _ in range(layers)
        )

    def forward(self, inputs: Sequence[Tensor]) -> TaskMaps:
        """Maps (N, C, h, w), finest first, to those of the tasks."""
        self.check_maps([one.shape[1] for one in inputs])
        height, width = inputs[self.level].shape[-2:]
        maps = self.join(torch.cat([resized(one, (height, width)) for one in inputs], 1))
        prompts = self.prompts.expand(len(maps), -1, -1)
        total: dict[str, Tensor] = {}
        for layer, decode in zip(self.layers, self.decode):
            prompts, maps, places, channels = layer(prompts, maps)
            for i, task in enumerate(self.tasks):
                found = decode[task](maps, places[:, :, i], channels[:, i])
                total[task] = total[task] + found if task in total else found
        size = 4 * height, 4 * width
        return TaskMaps({task: resized(one, size) for task, one in total.items()}, {})


class _Layer(nn.Module):
    """A layer of a transformer over prompts and tokens, whose prompts look at channels, too."""

    def __init__(self, channels: int, num_heads: int, grid: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.num_heads, self.grid = num_heads, grid
        self.norm = nn.LayerNorm(channels)
        self.spatial = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.to_channel, self.from_channel = nn.Linear(channels, grid**2), nn.Linear(grid**2, channels)
        self.drop_path = DropPath(drop_path)
        self.mlp = TokenMLP(channels, mlp_ratio, drop_path)

    def forward(self, prompts: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prompts (N, T, C) and maps (N, C, h, w), changed; affinities of the prompts with places
        (N, heads, T, h, w) and with channels (N, T, C)."""
        tasks, size = prompts.shape[1], maps.shape[-2:]
        tokens = torch.cat([prompts, to_tokens([maps])], 1)
        normed = self.norm(tokens)
        query, key, value = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in self.spatial(normed).chunk(3, 2)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        attended = self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        seen = normed[:, tasks:].transpose(1, 2).unflatten(2, size)
        rows = F.adaptive_avg_pool2d(seen, self.grid).flatten(2)  # a channel is a row, (N, C, grid^2)
        affinity = self.to_channel(normed[:, :tasks]) @ rows.transpose(1, 2) / self.grid
        of_channels = self.from_channel(affinity.softmax(-1) @ rows)
        attended = torch.cat([attended[:, :tasks] + of_channels, attended[:, tasks:]], 1)
        tokens = self.mlp(tokens + self.drop_path(attended))
        places = scores[:, :, :tasks, tasks:].unflatten(3, size)
        return tokens[:, :tasks], tokens[:, tasks:].transpose(1, 2).unflatten(2, size), places, affinity


class _Decoding(nn.Module):
    """One task's map of one layer: tokens, weighed by place and by channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.by_place, self.by_channel = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), conv_block(width, width, nn.GELU), nn.Conv2d(width, width, 1)
        )

    def forward(self, maps: Tensor, places: Tensor, channels: Tensor) -> Tensor:
        """(N, C, h, w), affinities (N, heads, h, w) and (N, C), to (N, width, h, w)."""
        weights = places.repeat_interleave(maps.shape[1] // places.shape[1], 1)  # a head has its own channels
        found = [self.by_place(maps + weights * maps), self.by_channel(maps + channels[..., None, None] * maps)]
        return self.fuse(torch.cat(found, 1))
