"""What happens to a batch of the self-improving stage inside the model's ``mode='loss'`` forward.

A forward pre-hook on the model makes the features of a frozen backbone once for the whole batch,
lets theta_C label the synthetic rows with them, and serves them to theta_E's loss.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from ..datasets.student_view import StudentView, cut_mix
from ..tasks.base import assign_model_labels
from ..tasks.joint import JointLabeller
from ..tasks.registry import TASKS
from ..utils.errors import UserError, some
from ..utils.image_values import swaps_channels
from ..utils.models import modes_kept, shares_features
from ..utils.randomness import channel_dropout, seeded_generators, stable_seed
from ..utils.values import check_choice
from .student_views import pixel_statistics, strong_view
from .theta_c import ThetaC

__all__ = ['BatchPass', 'ViewSettings']


@dataclass(frozen=True)
class ViewSettings:
    """How synthetic samples are labelled and shown; see ``SelfImprovingHook``."""

    targets: str = 'per_iteration'
    target_mode: str = 'eval'
    student_view: Any = 'same'  # or a :class:`StudentView`, made of a list or dict
    feature_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_choice('targets', self.targets, ('per_iteration', 'creation', 'unlabelled'))
        check_choice('target_mode', self.target_mode, ('eval', 'train'))
        if isinstance(self.student_view, (Sequence, Mapping)) and not isinstance(self.student_view, str):
            object.__setattr__(self, 'student_view', StudentView.of_config(self.student_view))
        elif not isinstance(self.student_view, StudentView):
            check_choice('student_view', self.student_view, ('same', 'feature_dropout', 'strong'))
        if not 0 <= self.feature_dropout < 1:
            raise UserError(f'feature_dropout = {self.feature_dropout} is out of range: a share of channels, in [0, 1)')


class BatchPass:
    """Labels the synthetic samples of a batch and shares its features, once attached to a model.

    Args:
        model (BaseModel): Without wrapper; ``forward(inputs, data_samples, mode)``.
        labeller: See :class:`diff2in1_mm.tasks.Labeller`.
        views (ViewSettings): What to do.
        seed (int): Of the run.

    Attributes:
        theta_c (ThetaC | None): What labels, for as long as the stage lasts; None: nothing does.
        kept (ThetaC | None): What follows the training, labelling or not. It takes up parameters
            that have become trainable here, after all hooks and before the step.
        iteration (int): Of the run; part of every seed.
        viewing (bool): Whether real samples are to be seen as ``student_view`` says, if it is of both kinds.
        measuring (bool): Whether this iteration's figures will be logged.
        figures (dict[str, Tensor]): 0-dim tensors of the last measured batch.
    """

    def __init__(self, model: BaseModel, labeller, views: ViewSettings, seed: int) -> None:
        self.model, self.labeller, self.views, self.seed = model, labeller, views, seed
        self.theta_c: ThetaC | None = None
        self.kept: ThetaC | None = None
        self.iteration = 0
        self.measuring = self.viewing = False
        self.figures: dict[str, Tensor] = {}
        self._served = ExitStack()
        self._signature = inspect.signature(model.forward)
        self._handles = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            # also after an exception: features must not outlive their batch
            model.register_forward_hook(self._after, always_call=True),
        ]

    def detach(self) -> None:
        """Removes the hooks from the model."""
        for handle in self._handles:
            handle.remove()

    def _before(self, model: BaseModel, args: tuple, kwargs: dict):
        if not model.training:
            return None
        call = self._signature.bind(*args, **kwargs)
        if call.arguments.get('mode') != 'loss':
            return None
        if self.kept is not None:
            _take_up(self.kept)
        samples = call.arguments.get('data_samples', ())
        if self.viewing and getattr(self.views.student_view, 'of_both', False):
            real = [i for i, sample in enumerate(samples) if not sample.metainfo.get('synthetic')]
            call.arguments['inputs'] = self._seen(call.arguments['inputs'], samples, real)
        if self.theta_c is None:
            return call.args, call.kwargs
        self.figures = {}
        rows = [i for i, sample in enumerate(samples) if sample.metainfo.get('synthetic')]
        if not rows and not (self.measuring and get_world_size() > 1):
            return call.args, call.kwargs
        inputs, features = self._prepare(call.arguments['inputs'], samples, rows)
        if self.measuring:
            self._measure_losses(inputs, samples, features, rows)
        # autocast's half-precision copies made without gradient must not serve the training step
        torch.clear_autocast_cache()
        if features is not None:
            self._served.enter_context(model.backbone.serve(features))
        call.arguments['inputs'] = inputs
        return call.args, call.kwargs

    def _after(self, model: BaseModel, args: tuple, result) -> None:
        self._served.close()

    @torch.no_grad()
    def _prepare(self, inputs: Tensor, samples: Sequence, rows: list[int]):
        """Targets for the synthetic rows, and what theta_E sees of the batch.

        Returns:
            tuple: Images (N, 3, H, W), and the maps to serve or None.
        """
        features = None
        if shares_features(self.model):
            features = self.model.backbone.features(inputs)
        if rows:
            self._label(inputs, samples, features, rows)
            self._ignore_rejected([samples[i] for i in rows])
            inputs, features = self._view(inputs, samples, features, rows)
        return inputs, features

    def _label(self, inputs: Tensor, samples: Sequence, features, rows: list[int]) -> None:
        """theta_C's targets, and the figures on them where they will be logged."""
        assert self.theta_c is not None  # `_before` has looked
        renewed = self._renewed(samples, rows)
        if not renewed and not self.measuring:
            return
        rows = rows if self.measuring else renewed
        chosen = [samples[i] for i in rows]
        images, served = _rows(rows, inputs, features)
        strict = bool(renewed) and self.views.target_mode == 'train'
        with self._served_now(served), modes_kept(self.model):
            self._set_modes(strict)
            with self.theta_c.applied(self.model), self._own_randomness(images, strict):
                predictions = self.labeller.predict(self.model, images, chosen)
            if self.measuring:
                self.model.eval()
                own = self.labeller.predict(self.model, images, chosen)
                self.figures['agreement'] = self.labeller.agreement(predictions, own)
        if renewed:
            given = [(sample, said) for i, sample, said in zip(rows, chosen, predictions) if i in renewed]
            self.figures.update(assign_model_labels(self.labeller, *zip(*given)))
        if len(renewed) < len(rows):
            self.figures['ignored'] = self.labeller.ignored(chosen)

    def _renewed(self, samples: Sequence, rows: list[int]) -> list[int]:
        """Of the synthetic rows those whose targets theta_C gives."""
        if self.views.targets == 'unlabelled':
            return [i for i in rows if samples[i].metainfo.get('unlabelled')]
        return rows if self.views.targets == 'per_iteration' else []

    def _ignore_rejected(self, samples: Sequence) -> None:
        """theta_C may well name again what a person said is wrong, in whose place a data set may have put 255 where the
        head ignores another value."""
        for sample in samples:
            rejected = sample.metainfo.get('rejected_classes', ())
            for labeller in JointLabeller.of(self.labeller).labellers.values() if rejected else ():
                ignored = getattr(labeller, 'ignore_index', 255)
                wrong = rejected if ignored == 255 else (*rejected, 255)
                TASKS[labeller.task].ignore_classes(sample, wrong, ignored)

    def _set_modes(self, strict: bool) -> None:
        """Eval mode for theta_C; with ``strict`` only of what comes before the heads, as the
        released code has its decoder's training-mode forward behind an aggregator in eval mode."""
        parts = [getattr(self.model, name, None) for name in ('backbone', 'neck')]
        for part in parts if strict else [self.model]:
            if isinstance(part, nn.Module):
                part.eval()

    def _view(self, inputs: Tensor, samples: Sequence, features, rows: list[int]):
        """What theta_E sees: ``inputs`` and ``features``, with the synthetic rows changed."""
        if self.views.student_view == 'same':
            return inputs, features
        generators = seeded_generators(
            self.seed, 'student view', self.iteration, samples=[self._name(samples, i) for i in rows]
        )
        if self.views.student_view == 'feature_dropout':
            by_row = dict(zip(rows, generators))
            drawn = [by_row.get(i) for i in range(len(samples))]
            return inputs, channel_dropout(features, self.views.feature_dropout, drawn)
        index = _index(rows, inputs.device)
        if self.views.student_view == 'strong':
            statistics = pixel_statistics(self.model.data_preprocessor, inputs)
            strong = strong_view(inputs[index], *statistics, generators)
        else:
            strong = self._seen(inputs, samples, rows)[index]
            targets = [samples[i].gt_sem_seg for i in rows] if self.views.student_view.cutmix else []
            if targets:
                share = self.views.student_view.cutmix
                strong, mixed = cut_mix(strong, [target.data for target in targets], share, generators)
                for target, data in zip(targets, mixed):
                    target.data = data
        inputs = inputs.index_copy(0, index, strong)
        if features is not None:
            cache = getattr(self.model.backbone, 'feature_cache', None)
            with nullcontext() if cache is None else cache.paused():  # such a view does not come again
                changed = self.model.backbone.features(strong)
            features = [f.index_copy(0, index, c) for f, c in zip(features, changed)]
        return inputs, features

    def _seen(self, inputs: Tensor, samples: Sequence, rows: list[int]) -> Tensor:
        """``inputs``, with these rows as the transforms of ``student_view`` leave them."""
        if not rows:
            return inputs
        preprocessor, index = self.model.data_preprocessor, _index(rows, inputs.device)
        seeds = [stable_seed(self.seed, 'transforms', self.iteration, self._name(samples, i)) for i in rows]
        statistics = pixel_statistics(preprocessor, inputs)
        seen = self.views.student_view(inputs[index], *statistics, swaps_channels(preprocessor), seeds)
        return inputs.index_copy(0, index, seen)

    @torch.no_grad()
    def _measure_losses(self, inputs: Tensor, samples: Sequence, features, rows: list[int]) -> None:
        """Loss on the real and on the synthetic part, without a trace in theta_E.

        Batch norm uses its statistics here and dropout is off, so the figures are comparable from
        one batch to the next.
        """
        parts = dict(loss_real=[i for i in range(len(samples)) if i not in set(rows)], loss_synthetic=rows)
        present = torch.tensor([bool(part) for part in parts.values()], dtype=torch.int32, device=inputs.device)
        if get_world_size() > 1:
            # detectors' losses reduce over the processes: all compute a part, or none does
            all_reduce(present, 'min')
        for (name, part), wanted in zip(parts.items(), present.tolist()):
            if not wanted:
                continue
            images, served = _rows(part, inputs, features)
            with self._served_now(served), _without_trace(self.model), self._own_randomness(inputs, True):
                losses = self.model.loss(images, [samples[i].new() for i in part])
                self.figures[name] = self.model.parse_losses(losses)[0]

    def _served_now(self, features):
        return nullcontext() if features is None else self.model.backbone.serve(features)

    @contextmanager
    def _own_randomness(self, inputs: Tensor, wanted: bool) -> Iterator[None]:
        """Dropout and box sampling beside the training step leave its random state alone."""
        if not wanted:
            yield
            return
        devices = [inputs.device] if inputs.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stable_seed(self.seed, 'target', self.iteration))
            yield

    @staticmethod
    def _name(samples: Sequence, row: int) -> str:
        """What tells a sample apart; by its place in the batch where the data set gives no id."""
        return samples[row].metainfo.get('sample_id') or f'row {row}'


def _take_up(theta_c: ThetaC) -> None:
    names = theta_c.take_up()
    if names:
        print_log(f'theta_C follows {some(names)} from now on, which became trainable.', 'current')


def _index(rows: Sequence[int], device: torch.device) -> Tensor:
    """Row numbers on a device, without waiting for it."""
    return torch.tensor(rows).to(device, non_blocking=True)


def _rows(rows: Sequence[int], inputs: Tensor, features):
    """Some images of a batch, and their maps where there are any."""
    index = _index(rows, inputs.device)
    return inputs[index], None if features is None else [feature[index] for feature in features]


@contextmanager
def _without_trace(model: BaseModel) -> Iterator[None]:
    """Loss passes that change no buffer and synchronise no statistics over processes."""
    buffers = [
        (module._buffers, key, buffer, buffer.clone())
        for module in model.modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    ]
    with modes_kept(model):
        for module in model.modules():
            if isinstance(module, (_NormBase, _DropoutNd)) or type(module).__name__ == 'DropPath':
                module.training = False
        try:
            yield
        finally:
            for store, key, buffer, value in buffers:
                store[key] = buffer.copy_(value)
