"""What a model's own backbone gives, and which of its maps the rest of the model reads."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..utils.errors import UserError, first_line
from ..utils.optional import is_a
from .refusals import BackboneError, TrialError

__all__ = ['NOT_FOR_CPUS', 'BackboneMaps', 'given_maps', 'measure_maps']

#: MMCV's words for an operator that it has for GPUs alone.
NOT_FOR_CPUS = 'implementation for device cpu'


@dataclass(frozen=True)
class BackboneMaps:
    """Feature maps of a backbone, in the order in which it gives them.

    Attributes:
        channels (tuple[int | None]): Of each map; None for one that nothing reads.
        strides (tuple[int]): Image pixels per element of each map.
    """

    channels: tuple[int | None, ...]
    strides: tuple[int, ...]


def given_maps(channels: Sequence[int], strides: Sequence[int]) -> BackboneMaps:
    """Maps that somebody tells, where a backbone cannot be tried.

    Args:
        channels (Sequence[int]): Of each map; 0 for one that nothing reads.
        strides (Sequence[int]): Of each map, in pixels.

    Raises:
        ValueError: Not as many channels as strides, or numbers that cannot be.
    """
    if not strides or len(channels) != len(strides):
        raise UserError(
            f'{len(channels)} channels and {len(strides)} strides were given: give '
            'one of each for every map of the backbone.'
        )
    if min(channels) < 0 or min(strides) < 1 or max(channels) == 0:
        raise UserError(
            'strides are at least 1, and channels too, or 0 for a map that nothing '
            f'reads: not channels {list(channels)} with strides {list(strides)}.'
        )
    return BackboneMaps(tuple(c or None for c in channels), tuple(strides))


def measure_maps(model: BaseModel, side: int = 256) -> BackboneMaps:
    """Runs a model's backbone, and follows gradients back to its maps.

    Args:
        model (BaseModel): A segmentor or detector, SyncBN as BN; left in training mode, its
            parameters without gradients.
        side (int): Height and width of the trial images, in pixels.

    Raises:
        BackboneError: The backbone gives something else than maps.
        TrialError: The model cannot be run on such images.
    """
    model.requires_grad_(False)
    name = type(model.backbone).__name__
    with _trial(name, side, 'say with --out-channels and --out-strides what it gives'):
        maps = _run_backbone(model.backbone, True, side)
        tested = _run_backbone(model.backbone, False, side)
    _check_maps(name, maps, tested, side)
    model.train()  # some heads give their losses other things than their predictions
    with _trial(
        f'what follows {name} in {type(model).__name__}',
        side,
        'say with --out-channels and --out-strides what that gives',
    ):
        read = _read_maps(model, maps, side)
    return BackboneMaps(
        tuple(m.shape[1] if seen else None for m, seen in zip(maps, read)),
        tuple(_stride(side, m.shape[-1]) for m in maps),
    )


@contextmanager
def _trial(what: str, side: int, mend: str) -> Iterator[None]:
    """Names the mend where a model of any library raises whatever it does."""
    try:
        yield
    except Exception as error:
        another = '' if NOT_FOR_CPUS in str(error) else 'give another --side, or '
        raise TrialError(
            f'{what} cannot be run on images of {side} x {side} pixels ({first_line(error)}): {another}{mend}.'
        ) from error


def _run_backbone(backbone: nn.Module, training: bool, side: int) -> list[Tensor]:
    backbone.train(training)
    with torch.no_grad():
        maps = backbone(torch.zeros(2, 3, side, side))
    return [maps] if isinstance(maps, Tensor) else list(maps)


def _check_maps(name: str, maps: Sequence, tested: Sequence, side: int) -> None:
    if not maps or not all(isinstance(m, Tensor) and m.dim() == 4 for m in maps):
        raise BackboneError(
            f'{name} gives more than feature maps (N, C, H, W), such as class tokens, '
            'and its heads need them: a diffusion model has nothing like that.'
        )
    if [m.shape for m in maps] != [getattr(m, 'shape', None) for m in tested]:
        raise BackboneError(
            f'{name} gives other maps in training than in testing, and its heads are '
            'made for that: a diffusion model cannot take its place.'
        )
    if any(m.shape[1:] == (3, side, side) for m in maps):
        raise BackboneError(
            f'{name} gives the image itself among its maps, and its neck needs it: a '
            'diffusion model cannot take its place.'
        )


def _stride(side: int, size: int) -> int:
    """Strides are powers of two mostly, and maps a pixel larger or smaller than that sometimes."""
    power = 2 ** round(math.log2(side / size))
    return power if abs(side / power - size) <= 1 else round(side / size)


def _read_maps(model: BaseModel, maps: Sequence[Tensor], side: int) -> list[bool]:
    """Whether a gradient comes back to each map."""
    leaves = [m.clone().requires_grad_() for m in maps]
    _loss(model, leaves, side).backward()
    return [leaf.grad is not None for leaf in leaves]


def _loss(model: BaseModel, maps: list[Tensor], side: int) -> Tensor:
    """A number that depends on every map that the model reads."""
    if is_a(model, 'mmseg', 'EncoderDecoder'):
        return _segmentation_loss(model, maps, side)
    if getattr(model, 'with_neck', False):
        maps = model.neck(tuple(maps))
    return torch.stack([m.sum() for m in maps]).sum()  # heads without a neck read what they are given


def _segmentation_loss(model: BaseModel, maps: list[Tensor], side: int) -> Tensor:
    """The segmentor's own loss, all heads included, on an empty label map."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    size = (side, side)
    labels = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    samples = [
        SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=size, pad_shape=size, ori_shape=size)) for _ in maps[0]
    ]
    backbone, model.backbone = model.backbone, _Given(maps)
    try:
        losses = model.loss(torch.zeros(len(samples), 3, *size), samples)
    finally:
        model.backbone = backbone
    return model.parse_losses(losses)[0]


class _Given(nn.Module):
    """Stands where the backbone was."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.maps)
