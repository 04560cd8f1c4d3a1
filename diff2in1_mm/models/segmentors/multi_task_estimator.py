"""Several kinds of maps from one set of features."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import MODELS
from mmseg.utils import add_prefix
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.values import check_choice
from ..backbones.diffusion_backbone import DiffusionBackbone
from ..decode_heads.cross_task import CrossTaskHead, TaskMaps
from .dense_estimator import DenseEstimator
from .task_kinds import KINDS, check_head
from .task_weights import build_weights

__all__ = ['MultiTaskEstimator', 'TaskView']


@MODELS.register_module()
class MultiTaskEstimator(DenseEstimator):
    """One backbone, perhaps a neck for all, and a head for each task.

    A task's loss counts the samples that have its label; the others of the batch are left out. Samples
    get the fields of all tasks. theta_C labels all tasks of a synthetic image, see
    :class:`diff2in1_mm.tasks.JointLabeller`.

    Args:
        heads (dict): 'segmentation', 'depth', 'normals', 'parts', 'boundaries', 'saliency' -> the head's config, as
            for an ``EncoderDecoder``, a ``NormalEstimator`` or a ``DepthMapEstimator``. Those of boundaries and
            saliency are heads of MMSegmentation with ``num_classes=2, out_channels=1`` and a ``threshold``.
        weights (dict | str): Task -> factor of its losses, 1 where it is not named; or
            'uncertainty', which learns them (Kendall, Gal and Cipolla, CVPR 2018, equation 7 and its
            form for classification, equation 10): ``L exp(-s) + s / 2`` with a learned ``s`` for classes,
            ``L exp(-s) / 2 + s / 2`` for continuous maps; or 'gradnorm' (Chen et al., ICML 2018), which lets the
            tasks' gradients in the shared maps fall alike. Default: all 1.
        cross_task (dict | None): A decoder between the maps and the heads in which tasks learn from one another,
            such as ``dict(type='InvPTHead', ...)``; heads then take one map. Default None.
        **kwargs: See :class:`DenseEstimator`; without ``decode_head`` and ``auxiliary_head``.

    Raises:
        ValueError: No head, an unknown task, weights of no task, a head that learns something else, one of boundaries
            or saliency with more than one channel, or a cross-task decoder for other maps.

    Attributes:
        label_tasks (tuple[str, ...]): The heads' tasks, in the order in which they are named above.
    """

    def __init__(
        self, heads: dict, weights: Mapping[str, float] | str | None = None, cross_task: dict | None = None, **kwargs
    ) -> None:
        _check_configs(heads, cross_task)
        for task in heads:
            check_choice('A task in `heads` of MultiTaskEstimator', task, tuple(KINDS))
        if not heads or kwargs.get('auxiliary_head') or kwargs.pop('decode_head', None):
            raise UserError('MultiTaskEstimator takes heads by task in `heads`, without decode_head or auxiliary_head')
        # in one order, whatever a config's: dumped ones are sorted, and optimizers know parameters by their places
        heads = {task: heads[task] for task in KINDS if task in heads}
        super().__init__(decode_head=heads, **kwargs)
        self._shared: tuple[Tensor, Any] | None = None
        self._sharing = False
        self.label_tasks = tuple(heads)
        self.weights = build_weights(weights, self.label_tasks)
        self.cross_task: CrossTaskHead | None = None
        if cross_task is not None:
            channels = {task: head.out_channels for task, head in self.heads.items()}
            self.cross_task = MODELS.build(dict(cross_task, out_channels=channels))
            given = self._channels_given()
            if given is not None and isinstance(self.cross_task, CrossTaskHead):
                self.cross_task.check_maps(given)

    def _init_decode_head(self, decode_head: dict) -> None:
        heads: dict[str, Any] = {task: MODELS.build(head) for task, head in decode_head.items()}
        for task, head in heads.items():
            check_head(task, head)
        self.heads: Any = nn.ModuleDict(heads)
        self._maps = {task: KINDS[task].maps(head) for task, head in heads.items()}
        self.align_corners = False
        self.out_channels = sum(head.out_channels for head in heads.values())

    def _channels_given(self) -> list[int] | None:
        """Of the maps that reach the cross-task decoder, finest first; None where neck or backbone do not say."""
        if not self.with_neck:
            return list(self.backbone.out_channels) if isinstance(self.backbone, DiffusionBackbone) else None
        channels, number = (getattr(self.neck, name, None) for name in ('out_channels', 'num_outs'))  # as FPN has them
        return [channels] * number if isinstance(channels, int) and isinstance(number, int) else None

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

    def task_maps(self, inputs: Tensor) -> dict[str, Any]:
        """What each task's head takes, of preprocessed images (N, 3, H, W)."""
        if self._sharing and self._shared is not None and self._shared[0] is inputs:
            return self._shared[1]
        found = self._for_heads(self._crossed(self.extract_feat(inputs)))
        if self._sharing:
            self._shared = inputs, found
        return found

    def _crossed(self, features: Any) -> TaskMaps:
        if self.cross_task is None:
            return TaskMaps(dict.fromkeys(self.heads, features), {})
        return self.cross_task(features)

    def _for_heads(self, maps: TaskMaps) -> dict[str, Any]:
        return {task: own if self.cross_task is None else [own] for task, own in maps.features.items()}

    def of_task(self, task: str) -> 'TaskView':
        """What predicts one task, as a labeller of that task alone takes it."""
        return TaskView(self, task)

    # --- training -------------------------------------------------------------------------------

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Losses of all tasks, as ``TASK.loss_NAME``; ``TASK.early.loss_NAME`` of preliminary predictions.

        Args:
            inputs (Tensor): Preprocessed images (N, 3, H, W).
            data_samples (Sequence): Their samples, each with the labels that it has.
        """
        features = self.extract_feat(inputs)
        maps = self._crossed(features)
        own = self._for_heads(maps)
        found = {task: self._task_loss(task, own[task], maps.early.get(task), data_samples) for task in self.heads}
        losses: dict[str, Tensor] = {}
        for task, values in self.weights(found, features).items():
            losses.update(add_prefix(values, task))
        return losses

    def _task_loss(self, task: str, maps: Any, early: Tensor | None, samples: Sequence) -> dict[str, Tensor]:
        head, kind = self.heads[task], KINDS[task]
        rows = [i for i, sample in enumerate(samples) if kind.has(sample)]
        if not rows:  # processes of a distributed run expect a gradient of every parameter
            used = [parameter.sum() for parameter in head.parameters()] + ([] if early is None else [early.sum()])
            used += [] if self.cross_task is None else [one.sum() for one in maps]
            return dict(loss_absent=0 * sum(used))
        all_of_them = len(rows) == len(samples)
        seen = kind.seen([samples[i] for i in rows])
        found = head.loss(maps if all_of_them else [one[rows] for one in maps], seen, self.train_cfg)
        if early is not None:
            values = head.loss_by_feat(early if all_of_them else early[rows], seen)
            found.update({f'early.{name}': value for name, value in values.items() if 'loss' in name})
        if head.out_channels == 1 and kind.classes:  # an accuracy by the best of several channels says nothing
            found.pop('acc_seg', None)
        return found

    # --- inference: DenseEstimator's, on the tasks' maps behind one another ---------------------

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Maps (N, C, H, W) of all tasks, one behind the other along C."""
        maps = self.task_maps(inputs)
        return torch.cat(
            [head.predict(maps[task], batch_img_metas, self.test_cfg).float() for task, head in self.heads.items()], 1
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


def _check_configs(heads: Any, cross_task: Any) -> None:
    """Raises ValueError unless these are configs that can be built."""
    if not isinstance(heads, Mapping):
        raise UserError(
            f'heads = {heads!r} of MultiTaskEstimator must be a dict from tasks to the configs of their heads, such as '
            "dict(depth=dict(type='FPNDepthHead', ...))"
        )
    named = {f'heads.{task}': head for task, head in heads.items()}
    for name, config in dict(named, **({} if cross_task is None else dict(cross_task=cross_task))).items():
        if not isinstance(config, Mapping) or 'type' not in config:
            kind = 'InvPTHead' if name == 'cross_task' else 'FPNHead'
            raise UserError(
                f'{name} = {config!r} of MultiTaskEstimator must be a config with its type, such as '
                f"dict(type='{kind}', ...); correct it, or leave {name} out"
            )


class TaskView:
    """One task of a :class:`MultiTaskEstimator`, with what a model of that task alone has.

    Args:
        model (MultiTaskEstimator): Not copied.
        task (str): One of its tasks.
    """

    def __init__(self, model: MultiTaskEstimator, task: str) -> None:
        self._model, self._task = model, task
        self.backbone, self.decode_head = model.backbone, model.heads[task]
        self.out_channels = self.decode_head.out_channels

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The task's maps (N, C, H, W) of preprocessed images (N, 3, H, W)."""
        return self.decode_head.predict(
            self._model.task_maps(inputs)[self._task], batch_img_metas, self._model.test_cfg
        )
