"""Several kinds of maps from one set of features."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import MODELS
from mmseg.utils import add_prefix
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.values import check_choice
from .dense_estimator import DenseEstimator
from .maps import DepthMaps, Maps, NormalMaps, SegmentationMaps

__all__ = ['MultiTaskEstimator', 'TaskView']

#: Task -> its kind of map, and the field of a sample that it learns from.
_KINDS: dict[str, tuple[type[Maps], str]] = dict(
    segmentation=(SegmentationMaps, 'gt_sem_seg'),
    normals=(NormalMaps, 'gt_normal_map'),
    depth=(DepthMaps, 'gt_depth_map'),
)


@MODELS.register_module()
class MultiTaskEstimator(DenseEstimator):
    """One backbone, perhaps a neck for all, and a head for each task.

    A task's loss counts the samples that have its label; the others of the batch are left out. Samples
    get the fields of all tasks. theta_C labels all tasks of a synthetic image, see
    :class:`diff2in1_mm.tasks.JointLabeller`.

    Args:
        heads (dict): 'segmentation', 'normals', 'depth' -> the head's config, as for an
            ``EncoderDecoder``, a ``NormalEstimator`` or a ``DepthMapEstimator``.
        weights (dict | str): Task -> factor of its losses, 1 where it is not named; or
            'uncertainty', which learns them (Kendall, Gal and Cipolla, CVPR 2018, equation 7 and its
            form for classification, equation 10): ``L exp(-s) + s / 2`` with a learned ``s`` for classes,
            ``L exp(-s) / 2 + s / 2`` for continuous maps. Default: all 1.
        **kwargs: See :class:`DenseEstimator`; without ``decode_head`` and ``auxiliary_head``.

    Raises:
        ValueError: No head, an unknown task, or weights of no task.

    Attributes:
        label_tasks (tuple[str, ...]): The heads' tasks.
    """

    def __init__(self, heads: dict, weights: Mapping[str, float] | str | None = None, **kwargs) -> None:
        for task in heads:
            check_choice('A task in `heads` of MultiTaskEstimator', task, tuple(_KINDS))
        if not heads or kwargs.get('auxiliary_head') or kwargs.pop('decode_head', None):
            raise UserError('MultiTaskEstimator takes heads by task in `heads`, without decode_head or auxiliary_head')
        super().__init__(decode_head=heads, **kwargs)
        self._shared: tuple[Tensor, Any] | None = None
        self._sharing = False
        self.label_tasks = tuple(heads)
        self.log_variances = None
        if weights == 'uncertainty':
            self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in heads})
            weights = None
        self.weights = _checked_weights(weights or {}, heads)

    def _init_decode_head(self, decode_head: dict) -> None:
        heads: dict[str, Any] = {task: MODELS.build(head) for task, head in decode_head.items()}
        self.heads: Any = nn.ModuleDict(heads)
        self._maps = {
            task: SegmentationMaps(head.threshold or 0.3) if task == 'segmentation' else _KINDS[task][0]()
            for task, head in heads.items()
        }
        self.align_corners = False
        self.out_channels = sum(head.out_channels for head in heads.values())

    @property
    def with_decode_head(self) -> bool:
        """Whether there are heads."""
        return len(self.heads) > 0

    # --- features, once for all tasks -----------------------------------------------------------

    @contextmanager
    def features_shared(self) -> Iterator[None]:
        """Within, tasks that ask for the features of the same tensor get the same. Parameters must not change."""
        self._sharing = True
        try:
            yield
        finally:
            self._sharing, self._shared = False, None

    def extract_feat(self, inputs: Tensor) -> Any:
        """Maps of backbone and neck, of preprocessed images (N, 3, H, W)."""
        if not self._sharing:
            return super().extract_feat(inputs)
        if self._shared is None or self._shared[0] is not inputs:
            self._shared = inputs, super().extract_feat(inputs)
        return self._shared[1]

    def of_task(self, task: str) -> 'TaskView':
        """What predicts one task, as a labeller of that task alone takes it."""
        return TaskView(self, task)

    # --- training -------------------------------------------------------------------------------

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Losses of all tasks, as ``TASK.loss_NAME``.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence): Their samples, each with the labels that it has.
        """
        features = self.extract_feat(inputs)
        losses: dict[str, Tensor] = {}
        for task, head in self.heads.items():
            rows = [i for i, sample in enumerate(data_samples) if _KINDS[task][1] in sample]
            if rows:
                own = features if len(rows) == len(data_samples) else [feature[rows] for feature in features]
                found = head.loss(own, [data_samples[i] for i in rows], self.train_cfg)
            else:  # processes of a distributed run expect a gradient of every parameter
                found = dict(loss_absent=0 * sum(parameter.sum() for parameter in head.parameters()))
            losses.update(add_prefix(self._weighted(task, found), task))
        return losses

    def _weighted(self, task: str, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        weight: float | Tensor = self.weights.get(task, 1.0)
        if self.log_variances is not None:
            log_variance = self.log_variances[task]
            weight = (-log_variance).exp() * (1.0 if task == 'segmentation' else 0.5)
            losses = dict(losses)
        weighted = {name: value * weight if 'loss' in name else value for name, value in losses.items()}
        if self.log_variances is not None:
            weighted['loss_uncertainty'] = log_variance / 2
        return weighted

    # --- inference: DenseEstimator's, on the tasks' maps behind one another ---------------------

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Maps (N, C, H, W) of all tasks, one behind the other along C."""
        features = self.extract_feat(inputs)
        return torch.cat(
            [head.predict(features, batch_img_metas, self.test_cfg).float() for head in self.heads.values()], 1
        )

    def _by_task(self, maps: Tensor, dim: int) -> dict[str, Tensor]:
        sizes = [head.out_channels for head in self.heads.values()]
        return dict(zip(self.heads, maps.split(sizes, dim)))

    def unflip(self, maps: Tensor, direction: str = 'horizontal') -> Tensor:
        """As each task's maps; (N, C, H, W)."""
        return torch.cat([self._maps[t].unflip(own, direction) for t, own in self._by_task(maps, 1).items()], 1)

    def finish(self, maps: Tensor) -> Tensor:
        """As each task's maps; (N, C, H, W)."""
        return torch.cat([self._maps[task].finish(own) for task, own in self._by_task(maps, 1).items()], 1)

    def fields(self, maps: Tensor) -> dict[str, Tensor]:
        """Those of all tasks, of maps (C, H, W)."""
        return {k: v for task, own in self._by_task(maps, 0).items() for k, v in self._maps[task].fields(own).items()}


class TaskView:
    """One task of a :class:`MultiTaskEstimator`, with what a model of that task alone has.

    Args:
        model (MultiTaskEstimator): Not copied.
        task (str): One of its tasks.
    """

    def __init__(self, model: MultiTaskEstimator, task: str) -> None:
        self._model = model
        self.backbone, self.decode_head = model.backbone, model.heads[task]
        self.out_channels = self.decode_head.out_channels

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The task's maps (N, C, H, W) of preprocessed images (N, 3, H, W)."""
        return self.decode_head.predict(self._model.extract_feat(inputs), batch_img_metas, self._model.test_cfg)


def _checked_weights(weights: Any, heads: Mapping[str, Any]) -> dict[str, float]:
    fits = isinstance(weights, Mapping) and set(weights) <= set(heads)
    if not fits or not all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights.values()):
        raise UserError(
            f"weights of MultiTaskEstimator is 'uncertainty', or a number >= 0 for each of {', '.join(heads)}, "
            f'not {weights!r}'
        )
    return dict(weights)
