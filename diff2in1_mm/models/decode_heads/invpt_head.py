"""The inverted pyramid of InvPT: attention of all tasks over all places, at growing resolution."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.errors import UserError
from .cross_task import CrossTaskHead, TaskMaps, TokenMLP, check_decoder, conv_block, to_tokens
from .targets import resized

__all__ = ['InvPTHead']


@MODELS.register_module()
class InvPTHead(CrossTaskHead):
    """InvPT's decoder (Ye and Xu, ECCV 2022), written from the paper, over the maps of any backbone.

    Each task has preliminary features and a preliminary prediction on the coarsest map (section 3.3), which are
    mixed to tokens. In each of three stages the tokens of all tasks and places attend to one another: queries are
    halved by a convolution, keys and values pooled to one grid for all stages (section 3.4), so that the scores of one
    stage are handed on to the next, larger one ("attention message passing"). Stages double the resolution, halve
    the width and add the encoder's map of that size. The sum of all stages, at twice the size of the last, goes to the
    tasks' heads.

    Args:
        in_channels (Sequence[int]): Of the maps, finest first; the last three or more are used.
        out_channels (Mapping[str, int]): Told by the estimator.
        channels (int): Of the preliminary features. Default 512, the paper's.
        width (int): Of tokens in the first stage, and of the map that a head gets; a multiple of 4 times
            ``num_heads``. Default 576, the paper's.
        num_heads (int): Of the attention. Default 2.
        mlp_ratio (float): Default 4.
        drop_path (float): Default 0.15.
        init_cfg (dict | None): As in MMEngine.

    Raises:
        ValueError: Fewer than three maps, a width that cannot be halved twice, or an option out of range.
    """

    _reads = 3

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Mapping[str, int],
        channels: int = 512,
        width: int = 576,
        num_heads: int = 2,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.15,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(out_channels, init_cfg)
        sizes = dict(channels=channels, width=width, num_heads=num_heads)
        self.in_channels = check_decoder('InvPTHead', in_channels, mlp_ratio, drop_path, **sizes)
        if len(in_channels) < 3 or width % (4 * num_heads):
            raise UserError(
                f'InvPTHead takes three or more maps and a width that is a multiple of {4 * num_heads} '
                f'(4 x num_heads), not {len(in_channels)} and {width}'
            )
        tasks, coarsest = self.tasks, in_channels[-1]
        self.early_features = nn.ModuleDict(
            {t: nn.Sequential(conv_block(coarsest, coarsest), conv_block(coarsest, channels)) for t in tasks}
        )
        self.early = nn.ModuleDict({t: nn.Conv2d(channels, out_channels[t], 1) for t in tasks})
        self.mix = nn.ModuleDict({t: nn.Conv2d(channels + out_channels[t], width, 1) for t in tasks})
        widths = [width, width // 2, width // 4]
        self.blocks = nn.ModuleList(
            _Attention(len(tasks), w, num_heads, mlp_ratio, drop_path, first=i == 0) for i, w in enumerate(widths)
        )
        self.enlarge: Any = nn.ModuleList(
            nn.ModuleList(nn.Sequential(conv_block(a, b), conv_block(b, b)) for _ in tasks)
            for a, b in zip(widths, widths[1:])
        )
        self.encoder = nn.ModuleList(
            nn.Conv2d(c, w, 3, padding=1) for c, w in zip(reversed(in_channels[-3:-1]), widths[1:])
        )
        self.norms = nn.ModuleList(nn.LayerNorm(w * len(tasks)) for w in widths)
        self.widen: Any = nn.ModuleList(nn.ModuleList(nn.Conv2d(w, width, 1) for _ in tasks) for w in widths[1:])
        self.project = nn.ModuleDict({t: conv_block(width, width) for t in tasks})

    def forward(self, inputs: Sequence[Tensor]) -> TaskMaps:
        """Maps (N, C, h, w), finest first, to those of the tasks, at 8 times the size of the coarsest."""
        self.check_maps([one.shape[1] for one in inputs])
        early_features = {task: self.early_features[task](inputs[-1]) for task in self.tasks}
        early = {task: self.early[task](maps) for task, maps in early_features.items()}
        maps = [self.mix[task](torch.cat([early_features[task], early[task]], 1)) for task in self.tasks]
        height, width = inputs[-1].shape[-2:]
        grid = -(-height // 2), -(-width // 2)
        size = height * 8, width * 8
        total: list[Tensor] = []
        scores: tuple[Tensor, tuple[int, int]] | None = None
        for stage, block in enumerate(self.blocks):
            if stage:
                maps = self._enlarged(maps, inputs, stage)
            maps, scores = block(maps, grid, scores)
            found = [resized(one, size) for one in self._normalised(maps, stage)]
            total = found if not total else [a + b for a, b in zip(total, found)]
        return TaskMaps({task: self.project[task](one) for task, one in zip(self.tasks, total)}, early)

    def _enlarged(self, maps: Sequence[Tensor], inputs: Sequence[Tensor], stage: int) -> list[Tensor]:
        """Twice the size, with the encoder's map added that has about that size."""
        height, width = maps[0].shape[-2:]
        size = 2 * height, 2 * width
        encoded = resized(self.encoder[stage - 1](inputs[-1 - stage]), size)
        return [
            layers(F.interpolate(one, size, mode='bilinear')) + encoded
            for layers, one in zip(self.enlarge[stage - 1], maps)
        ]

    def _normalised(self, maps: Sequence[Tensor], stage: int) -> list[Tensor]:
        """Of all tasks together, at the width that heads get."""
        joined = self.norms[stage](torch.cat(list(maps), 1).movedim(1, -1)).movedim(-1, 1)
        found = joined.chunk(len(maps), 1)
        return list(found) if not stage else [layer(one) for layer, one in zip(self.widen[stage - 1], found)]


class _Attention(nn.Module):
    """One stage: attention of the tokens of all tasks, and a perceptron.

    Args:
        tasks (int): Their number.
        width (int): Of tokens.
        num_heads, mlp_ratio, drop_path: See :class:`InvPTHead`.
        first (bool): There are no scores of a stage before.
    """

    def __init__(self, tasks: int, width: int, num_heads: int, mlp_ratio: float, drop_path: float, first: bool) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, width**-0.5
        self.norm = nn.LayerNorm(width)
        self.halve = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False), nn.BatchNorm2d(width)
            )
            for _ in range(tasks)
        )
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fuse = None if first else nn.Conv2d(2 * num_heads, num_heads, 1)
        self.drop_path = DropPath(drop_path)
        self.mlp = TokenMLP(width, mlp_ratio, drop_path)

    def forward(
        self, maps: Sequence[Tensor], grid: tuple[int, int], before: tuple[Tensor, tuple[int, int]] | None
    ) -> tuple[list[Tensor], tuple[Tensor, tuple[int, int]]]:
        """Maps (N, C, h, w) of the tasks; keys are pooled to ``grid``. ``before``: scores (N, heads, queries, keys) of
        the last stage, and height and width of its queries."""
        size = maps[0].shape[-2:]
        normed = [self.norm(one.movedim(1, -1)).movedim(-1, 1) for one in maps]
        halved = [layer(one) for layer, one in zip(self.halve, normed)]
        height, width = halved[0].shape[-2:]
        pooled = to_tokens([F.adaptive_avg_pool2d(one, grid) for one in normed])
        query, key, value = (
            layer(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, to_tokens(halved)), (self.key, pooled), (self.value, pooled))
        )
        scores = query @ key.transpose(-2, -1) * self.scale
        if self.fuse is not None and before is not None:
            scores = self.fuse(torch.cat([scores, _resized_queries(*before, (height, width), len(maps))], 1))
        attended = self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        changes = attended.unflatten(1, (len(maps), height, width)).movedim(-1, 2)
        added = [one + resized(self.drop_path(changes[:, i]), size) for i, one in enumerate(maps)]
        tokens = self.mlp(to_tokens(added)).unflatten(1, (len(maps), *size)).movedim(-1, 2)
        return list(tokens.unbind(1)), (scores, (height, width))


def _resized_queries(scores: Tensor, size: tuple[int, int], wanted: tuple[int, int], tasks: int) -> Tensor:
    """Scores (N, heads, tasks h w, keys) as of queries on another grid."""
    number, heads, _, keys = scores.shape
    maps = scores.reshape(number * heads * tasks, *size, keys).movedim(-1, 1)
    return resized(maps, wanted).movedim(1, -1).reshape(number, heads, -1, keys)
