"""Normals and depth from dense estimators."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.normals import expected_angular_error
from ..codecs.scenes import MAX_PNG_DEPTH
from .base import Label
from .dense import DenseLabeller, inside
from .source_scenes import check_depth_loader, scene_loader, source_scene

__all__ = ['DepthLabeller', 'NormalsLabeller']


class _MapLabeller(DenseLabeller):
    """What labellers of continuous maps share."""

    _instead = ''
    # What reads such maps of a data set, and the field that it adds.
    _loader, _field = '', ''

    def __init__(self, model: nn.Module, confidence: float | None = None) -> None:
        self.confidence = None
        if confidence is not None:
            raise UserError(f'{type(self).__name__} knows no probability: leave confidence out{self._instead}')

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor, data_samples: Sequence) -> list[Any]:
        """Predict whole images in batch coordinates; see :meth:`Labeller.predict`."""
        return list(self.encode_decode(model, inputs))

    def count_classes(self, model: nn.Module) -> int | None:
        """None: there are no classes."""
        return None

    def read_sources(self, transforms: Sequence[Any]) -> None:
        """Let :meth:`source_labels` read as a data set with this pipeline does."""
        self._read = scene_loader(transforms, self._loader)

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """The source images' own maps, for pictures of ``size`` (height, width)."""
        return [source_scene(entry, size, self._read, self._field) for entry in entries]


class NormalsLabeller(_MapLabeller):
    """Unit normals; those that the model itself expects to be far off are ignored.

    Args:
        model (nn.Module): A ``NormalEstimator``.
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
        self, model: nn.Module, confidence: float | None = None, max_error: float | None = None, weigh: bool = False
    ) -> None:
        super().__init__(model, confidence)
        self.max_error, self.weigh = max_error, weigh
        if (max_error is not None or weigh) and model.out_channels < 4:
            raise UserError(
                f'{type(model.decode_head).__name__} predicts no kappa, so its '
                'uncertainty cannot decide what is ignored: drop max_error and weigh, '
                'or take NormalHead'
            )

    @torch.no_grad()
    def assign(self, data_samples: Sequence, predictions: Sequence[Tensor]) -> dict[str, Tensor]:
        ignored = []
        for sample, prediction in zip(data_samples, predictions):
            vectors, weight = self._target(prediction)
            ignored.append((weight[inside(sample, vectors)] == 0).float().mean())
            sample.gt_normal_map = PixelData(data=vectors * _kept(sample, vectors))
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
        found = []
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


class DepthLabeller(_MapLabeller):
    """Metric depth.

    Args:
        model (nn.Module): A ``DepthMapEstimator``, or MMSegmentation's ``DepthEstimator``.
        confidence (None): Must not be given.
        file (str | None): What is stored: 'png' (16 bits, millimetres, 65.535 m at most) or 'npy'
            (float32 metres). None: 'png' where the head's ``max_depth`` fits. Default None.

    Raises:
        ValueError: Unknown ``file``.
    """

    _loader, _field = 'LoadDepth', 'gt_depth_map'

    def __init__(self, model: nn.Module, confidence: float | None = None, file: str | None = None) -> None:
        super().__init__(model, confidence)
        if file not in (None, 'png', 'npy'):
            raise UserError(f"file of DepthLabeller is 'png' or 'npy', not {file!r}")
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
            sample.gt_depth_map = PixelData(data=prediction * _kept(sample, prediction))
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


def _kept(sample: Any, maps: Tensor) -> Tensor:
    """1 inside the image and 0 in the padding, (H, W)."""
    mask = torch.zeros_like(maps[0])
    mask[inside(sample, maps)] = 1
    return mask
