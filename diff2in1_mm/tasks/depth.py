"""Metric depth."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor

from ..utils.errors import UserError
from ..utils.optional import is_a
from ..utils.pictures import depth_picture
from ..utils.values import check_choice
from .base import Label, Named, Task
from .dense import MapLabeller, first_transform, inside, inside_mask
from .png import encode_png, read_png16
from .registry import register_task

__all__ = ['MAX_PNG_DEPTH', 'DepthArrayTask', 'DepthLabeller', 'DepthTask', 'check_depth_loader']

_MILLIMETRE = 0.001
#: Metres that a 16-bit PNG of millimetres reaches.
MAX_PNG_DEPTH = 65.535
# What MMSegmentation's `LoadDepthAnnotation` must be told for the files of each task.
_READS_STORE = dict(depth=('cv2', 0.001), depth_npy=('numpy', 1.0))


class DepthLabeller(MapLabeller):
    """Metric depth.

    Args:
        model (BaseModel): A ``DepthMapEstimator``, or MMSegmentation's ``DepthEstimator``.
        confidence (None): Must not be given.
        file (str | None): What is stored: 'png' (16 bits, millimetres, 65.535 m at most) or 'npy'
            (float32 metres). None: 'png' where the head's ``max_depth`` fits. Default None.

    Raises:
        ValueError: Unknown ``file``.
    """

    _loader, _field = 'LoadDepth', 'gt_depth_map'

    def __init__(self, model: BaseModel, confidence: float | None = None, file: str | None = None) -> None:
        super().__init__(model, confidence)
        check_choice('file of DepthLabeller', file, ('png', 'npy', None))
        if file is None:
            fits = getattr(model.decode_head, 'max_depth', 0) <= MAX_PNG_DEPTH
            file = 'png' if fits else 'npy'
        self.task = dict(png='depth', npy='depth_npy')[file]

    def check_loader(self, transforms: Sequence[Any]) -> None:
        """Whether a data set with this pipeline reads a store's depth, see
        :func:`check_depth_loader`."""
        check_depth_loader(transforms, self.task)

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[Tensor]) -> dict[str, Tensor]:
        for sample, prediction in zip(data_samples, predictions):
            sample.gt_depth_map = PixelData(data=prediction * inside_mask(sample, prediction))
        return dict(ignored=self.ignored(data_samples))

    def ignored(self, data_samples: Sequence) -> Tensor:
        shares = []
        for sample in data_samples:
            maps = sample.gt_depth_map.data
            shares.append((maps[0][inside(sample, maps)] <= 0).float().mean())
        return torch.stack(shares).mean()

    def agreement(self, predictions_a: Sequence[Tensor], predictions_b: Sequence[Tensor]) -> Tensor:
        """Share of pixels whose depths differ by less than a factor of 1.25 (0-dim)."""
        return torch.stack(
            [(torch.maximum(a / b, b / a) < 1.25).float().mean() for a, b in zip(predictions_a, predictions_b)]
        ).mean()

    def labels(
        self, predictions: Sequence[Tensor], size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        return [Label(p[0, : size[0], : size[1]].cpu().numpy(), dict(ignored=0.0)) for p in predictions]


@register_task
class DepthTask(Task):
    """Depth as PNG of 16 bits, millimetres; 0 where there is none, 65.535 metres at most."""

    name, labeller = 'depth', DepthLabeller
    suffix = '.png'

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """MMSegmentation's ``DepthEstimator``."""
        return is_a(model, 'mmseg', 'DepthEstimator')

    def encode(self, annotation: Any, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Metres, float (H, W), to PNG."""
        depth = self._checked(annotation, image_shape)
        if depth.max(initial=0) > MAX_PNG_DEPTH:
            raise UserError(
                f'the depth reaches {depth.max():.1f} m, but a PNG of millimetres '
                f"ends at {MAX_PNG_DEPTH} m: set labelling=dict(file='npy')"
            )
        return {self.suffix: encode_png((depth / _MILLIMETRE).round().astype(np.uint16))}

    def _checked(self, annotation: Any, image_shape: tuple[int, int]) -> np.ndarray:
        depth = np.asarray(annotation, np.float32)
        self.check_shape(depth, image_shape)
        if depth.ndim != 2 or not np.isfinite(depth).all() or depth.min(initial=0) < 0:
            raise UserError(f'the annotation has shape {depth.shape}: give finite metres >= 0, one per pixel')
        return depth

    def decode(self, path: Path) -> np.ndarray:
        """PNG to metres, float32 (H, W)."""
        return read_png16(path).astype(np.float32) * np.float32(_MILLIMETRE)

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadDepth``, which takes the entry's own scale."""
        info.update(depth_map_path=str(path), depth_scale=_MILLIMETRE)

    def draw(
        self, image: np.ndarray, annotation: np.ndarray, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """Near and far as colours, in place of the image."""
        return depth_picture(annotation)


@register_task
class DepthArrayTask(DepthTask):
    """Depth as ``.npy``, float32 metres without a limit; 0 where there is none."""

    name, labeller = 'depth_npy', DepthLabeller
    suffix = '.npy'

    @classmethod
    def fits(cls, model: BaseModel) -> bool:
        """None: a model's depth is :class:`DepthTask`, which decides for the file."""
        return False

    def encode(self, annotation: Any, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Metres, float (H, W), to an array file."""
        content = io.BytesIO()
        np.save(content, self._checked(annotation, image_shape), allow_pickle=False)
        return {self.suffix: content.getvalue()}

    def decode(self, path: Path) -> np.ndarray:
        """Array file to metres, float32 (H, W)."""
        try:
            return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except EOFError as error:
            raise UserError('not a readable array file') from error

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadDepth``, which takes the entry's own scale."""
        info.update(depth_map_path=str(path), depth_scale=1.0)


def check_depth_loader(transforms: Sequence[Any], task: str) -> None:
    """Whether a pipeline reads the depth of a store as metres.

    Only ``LoadDepth`` takes the unit from the entry; MMSegmentation's ``LoadDepthAnnotation`` has
    one for all files, which may be another than the store's. Loaders of one's own are not judged.

    Args:
        transforms (Sequence): Of the data set's pipeline.
        task (str): 'depth' (PNG of millimetres) or 'depth_npy' (arrays of metres).

    Raises:
        ValueError: It reads something else.
    """
    found = first_transform(transforms, 'LoadDepthAnnotation')
    if found is None or first_transform(transforms, 'LoadDepth') is not None:
        return
    backend, scale = _READS_STORE[task]
    given = found.depth_rescale_factor
    if found.decode_backend != backend or not np.isclose(given, scale, rtol=1e-6, atol=0):
        kind = dict(depth='PNG of millimetres', depth_npy='arrays of metres')[task]
        raise UserError(
            f"a store holds depth as {kind}, which the data set's "
            f'{type(found).__name__}(depth_rescale_factor={given:g}) reads as other depth or not at all: take '
            f"dict(type='LoadDepth', scale={given:.9g}), and PackSceneInputs at the end of the pipeline, in place of it"
        )
