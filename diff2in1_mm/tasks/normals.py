"""Surface normals: one unit vector for each pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor

from ..utils.errors import UserError
from ..utils.kappa import expected_angular_error
from ..utils.pictures import normals_picture
from .base import Label, Named, Task
from .dense import MapLabeller, inside, inside_mask
from .png import encode_png, read_png16
from .registry import register_task

__all__ = ['NormalsLabeller', 'NormalsTask', 'decode_normals', 'encode_normals']


class NormalsLabeller(MapLabeller):
    """Unit normals; those that the model itself expects to be far off are ignored.

    Args:
        model (BaseModel): A ``NormalEstimator``.
        confidence (None): Must not be given.
        max_error (float | None): Degrees: pixels with a larger expected angular error (from kappa)
            are ignored. None: no pixel. Needs a head with kappa.
        weigh (bool): Let pixels count the less the larger their expected error is:
            ``1 - error / 90 degrees``. Default False.
    """

    task = 'normals'
    _loader, _field = 'LoadNormals', 'gt_normal_map'
    _instead = ', or bound the expected error with labelling=dict(max_error=...)'

    def __init__(
        self, model: BaseModel, confidence: float | None = None, max_error: float | None = None, weigh: bool = False
    ) -> None:
        super().__init__(model, confidence)
        self.max_error, self.weigh = max_error, weigh
        if (max_error is not None or weigh) and model.out_channels < 4:
            raise UserError(
                f'{type(model.decode_head).__name__} predicts no kappa, so its uncertainty cannot decide what is '
                'ignored: drop max_error and weigh, or take NormalHead'
            )

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[Tensor]) -> dict[str, Tensor]:
        ignored = []
        for sample, prediction in zip(data_samples, predictions):
            vectors, weight = self._target(prediction)
            ignored.append((weight[inside(sample, vectors)] == 0).float().mean())
            sample.gt_normal_map = PixelData(data=vectors * inside_mask(sample, vectors))
            if self.weigh:
                sample.gt_normal_weight = PixelData(data=weight[None])
        return dict(ignored=torch.stack(ignored).mean())

    def ignored(self, data_samples: Sequence) -> Tensor:
        shares = []
        for sample in data_samples:
            maps = sample.gt_normal_map.data
            shares.append((maps == 0).all(0)[inside(sample, maps)].float().mean())
        return torch.stack(shares).mean()

    def agreement(self, predictions_a: Sequence[Tensor], predictions_b: Sequence[Tensor]) -> Tensor:
        """Mean cosine of the angle between two predictions (0-dim)."""
        return torch.stack(
            [F.cosine_similarity(a[:3], b[:3], dim=0).mean() for a, b in zip(predictions_a, predictions_b)]
        ).mean()

    def labels(
        self, predictions: Sequence[Tensor], size: tuple[int, int], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        found: list[Label | None] = []
        for prediction in predictions:
            prediction = prediction[:, : size[0], : size[1]]
            vectors, weight = self._target(prediction)
            quality = dict(ignored=float((weight == 0).float().mean()))
            if len(prediction) > 3:
                quality['expected_error'] = float(expected_angular_error(prediction[3]).mean())
            found.append(Label(vectors.permute(1, 2, 0).cpu().numpy(), quality))
        return found

    def _target(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Unit normals (3, H, W), 0 where ignored, and weights (H, W)."""
        vectors = F.normalize(prediction[:3], dim=0)
        weight = torch.ones_like(vectors[0])
        if self.max_error is not None or self.weigh:
            error = expected_angular_error(prediction[3])
            if self.weigh:
                weight = (1 - error / 90).clamp_min(0)
            if self.max_error is not None:
                weight = torch.where(error > self.max_error, 0.0, weight)
        return vectors * (weight > 0), weight


@register_task
class NormalsTask(Task):
    """Normals as RGB PNG of 16 bits per channel: -1..1 as 0..65535, 0 0 0 where there is none."""

    name, labeller = 'normals', NormalsLabeller
    suffix = '.png'

    def encode(self, annotation: Any, record: Named, image_shape: tuple[int, int]) -> dict[str, bytes]:
        """Vectors float (H, W, 3), unit length or 0, to PNG."""
        vectors = np.asarray(annotation, np.float32)
        self.check_shape(vectors, image_shape)
        if vectors.shape[2:] != (3,) or not np.isfinite(vectors).all():
            raise UserError(f'the annotation has shape {vectors.shape}: give finite vectors of three components')
        return {self.suffix: encode_png(encode_normals(vectors))}

    def decode(self, path: Path) -> np.ndarray:
        """PNG to float32 (H, W, 3), unit length or 0."""
        return decode_normals(read_png16(path))

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadNormals``."""
        info.update(normal_map_path=str(path), normals_in_camera_frame=True)

    def draw(
        self, image: np.ndarray, annotation: np.ndarray, colours: np.ndarray, entry: Mapping, opacity: float = 0.6
    ) -> np.ndarray:
        """The vectors as colours, in place of the image."""
        return normals_picture(annotation.transpose(2, 0, 1))


def encode_normals(vectors: np.ndarray) -> np.ndarray:
    """Vectors float (H, W, 3) to uint16 RGB; the zero vector becomes 0 0 0."""
    valid = (vectors != 0).any(axis=2, keepdims=True)
    values = ((vectors.clip(-1, 1) + 1) / 2 * 65535).round()
    return np.where(valid, values, 0).astype(np.uint16)


def decode_normals(picture: np.ndarray) -> np.ndarray:
    """uint8 or uint16 (H, W, 3) RGB to unit vectors float32; zero where the picture is 0 0 0 or the
    vector too short to have a direction."""
    top = np.iinfo(picture.dtype).max
    vectors = picture.astype(np.float32) / top * 2 - 1
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    valid = picture.any(axis=2, keepdims=True) & (length > 0.1)
    return np.where(valid, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)
