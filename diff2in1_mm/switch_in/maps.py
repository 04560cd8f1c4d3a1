"""What a model's own backbone gives, and which of its maps the rest of the model reads."""
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..optional import is_installed
from .built import first_line

__all__ = ['BackboneMaps', 'given_maps', 'measure_maps']


@dataclass(frozen=True)
class BackboneMaps:
    """Feature maps of a backbone, in the order in which it gives them.

    Attributes:
        channels (tuple[int | None]): Of each map; None for one that nothing reads.
        strides (tuple[int]): Image pixels per element of each map.
    """

    channels: Tuple[Optional[int], ...]
    strides: Tuple[int, ...]


def given_maps(channels: Sequence[int], strides: Sequence[int]) -> BackboneMaps:
    """Maps that somebody tells, where a backbone cannot be tried.

    Args:
        channels (Sequence[int]): Of each map; 0 for one that nothing reads.
        strides (Sequence[int]): Of each map, in pixels.

    Raises:
        ValueError: Not as many channels as strides, or numbers that cannot be.
    """
    if not strides or len(channels) != len(strides):
        raise ValueError(f'{len(channels)} channels and {len(strides)} strides were given: give '
                         'one of each for every map of the backbone.')
    if min(channels) < 0 or min(strides) < 1 or max(channels) == 0:
        raise ValueError('strides are at least 1, and channels too, or 0 for a map that nothing '
                         f'reads: not channels {list(channels)} with strides {list(strides)}.')
    return BackboneMaps(tuple(c or None for c in channels), tuple(strides))


def measure_maps(model: nn.Module, side: int = 256) -> BackboneMaps:
    """Runs a model's backbone once, and follows gradients back to its maps.

    Args:
        model (nn.Module): A segmentor or detector; its backbone is taken out.
        side (int): Height and width of the trial images, in pixels.

    Raises:
        ValueError: The backbone gives something else than maps, or the model cannot be run.
    """
    model.eval()  # SyncBN runs on CPUs then, and batch norms take one image
    with _trial(model, side):
        maps = _run_backbone(model.backbone, side)
    if not maps or not all(isinstance(m, Tensor) and m.dim() == 4 for m in maps):
        raise ValueError(f'{type(model.backbone).__name__} gives more than feature maps '
                         '(N, C, H, W), such as class tokens, and its heads need them: a diffusion '
                         'model has nothing like that.')
    with _trial(model, side):
        read = _read_maps(model, maps, side)
    strides = tuple(round(side / m.shape[-1]) for m in maps)
    channels = tuple(m.shape[1] if seen else None for m, seen in zip(maps, read))
    return BackboneMaps(channels, strides)


@contextmanager
def _trial(model: nn.Module, side: int) -> Iterator[None]:
    """Names the mend where a model of any library raises whatever it does."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f'{type(model).__name__} cannot be run on images of {side} x {side} pixels '
            f'({first_line(error)}): give another --side, or say with --out-channels and '
            '--out-strides what its backbone gives.') from error


def _run_backbone(backbone: nn.Module, side: int) -> List[Tensor]:
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, side, side))
    return [maps] if isinstance(maps, Tensor) else list(maps)


def _read_maps(model: nn.Module, maps: Sequence[Tensor], side: int) -> List[bool]:
    """Whether a gradient comes back to each map."""
    leaves = [m.clone().requires_grad_() for m in maps]
    _loss(model, leaves, side).backward()
    return [leaf.grad is not None for leaf in leaves]


def _loss(model: nn.Module, maps: List[Tensor], side: int) -> Tensor:
    """A number that depends on every map that the model reads."""
    if is_installed('mmseg'):
        from mmseg.models.segmentors import EncoderDecoder
        if isinstance(model, EncoderDecoder):
            return _segmentation_loss(model, maps, side)
    if getattr(model, 'with_neck', False):
        return sum(m.sum() for m in model.neck(tuple(maps)))
    return sum(m.sum() for m in maps)  # heads without a neck read what they are given


def _segmentation_loss(model: nn.Module, maps: List[Tensor], side: int) -> Tensor:
    """The segmentor's own loss, all heads included, on an empty label map."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    model.backbone = _Given(maps)
    size = (side, side)
    labels = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    samples = [SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=size, pad_shape=size,
                                                              ori_shape=size))]
    return model.parse_losses(model.loss(torch.zeros(1, 3, *size), samples))[0]


class _Given(nn.Module):
    """Stands where the backbone was."""

    def __init__(self, maps: List[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        return tuple(self.maps)

