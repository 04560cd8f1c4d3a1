"""A trial of a model before a long run: it learns, predicts, labels new images and batches, and learns from these."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..creation.batch_labels import BatchLabels
from ..tasks import labeller_for
from ..utils.errors import NotInstalledError, UserError, first_line
from ..utils.models import evaluating
from .maps import NOT_FOR_CPUS, BackboneMaps
from .refusals import LabelsError, TrialError, is_missing
from .trial_batches import new_batch, with_targets

__all__ = ['first_that_works', 'put_maps', 'try_model']

_Result = TypeVar('_Result')

_ABSURD = 1e3  # of a weight that was drawn
_NOTHING = 1e-6


def first_that_works(sides: Sequence[int], work: Callable[[int], _Result]) -> _Result:
    """What ``work`` gives for the first of several sides of images, in pixels, on which the model can be run.

    Raises:
        TrialError: It can on none; what was said of the last.
        LabelsError: It can, and its labels fail for another reason than the size.
    """
    for side in sides[:-1]:
        try:
            return work(side)
        except TrialError:
            continue
    return work(sides[-1])


def try_model(model: BaseModel, sides: Sequence[int], labels: bool = True, masks: bool = True) -> None:
    """Does with a model once what a run will do with it: on noise, with weights that are drawn.

    Args:
        model (BaseModel): Of one of the tasks that are switched, SyncBN as BN; its weights, its data
            preprocessor and how many objects it looks at change.
        sides (Sequence[int]): Of the images, in pixels; the first on which it can be run counts.
        labels (bool): Whether it is to make labels and to learn from them. Default True.
        masks (bool): Whether a detector's data have masks beside the boxes. Default True.

    Raises:
        ImportError: A package is missing.
        TrialError: It cannot learn or predict.
        LabelsError: It cannot label, or not learn from its labels.
    """
    name = type(model).__name__
    print_log(f'{name} is tried: it learns, predicts and labels once. Large models take minutes.', 'current')
    try:
        with _quiet(), torch.random.fork_rng():
            torch.manual_seed(0)
            model.requires_grad_(True)
            with suppress(Exception):  # SAN's text encoder can only load weights; torch has drawn some already
                model.init_weights()
            _draw_what_is_loaded(model)
            model.to('cuda' if torch.cuda.is_available() else 'cpu')
            first_that_works(sides, lambda side: _Trial(model, side, masks).run(labels))
    except _MissingOnCpuError as error:
        print_log(
            f'{name} could not be tried on this machine without a GPU ({error}): what is written is untried.',
            'current',
            level=logging.WARNING,
        )


def _draw_what_is_loaded(model: nn.Module) -> None:
    """Parameters that only a checkpoint fills hold what was in memory before, which may be zeros or next to them: what
    a projection gives then (SAN's, of texts) has no norm to divide by."""
    with torch.no_grad():
        for weight in model.parameters():
            if not (weight.is_floating_point() and weight.numel()):
                continue
            largest = weight.abs().amax()
            # NaN is below nothing; biases do begin at zero
            if not largest < _ABSURD or (weight.ndim > 1 and largest < _NOTHING):
                weight.normal_(std=0.02)


class _MissingOnCpuError(Exception):
    """An operator that a machine without a GPU does not have."""


class _Trial:
    def __init__(self, model: BaseModel, side: int, masks: bool) -> None:
        self.model, self.side, self.masks = model, side, masks
        self.labeller = labeller_for(model, 0.0)  # nothing is sure before training
        self._fit_preprocessor()
        _look_at_fewer_objects(model)
        hub = MessageHub.get_current_instance()  # where losses and augmentations read how far a run is
        for name, value in dict(iter=0, epoch=0, max_iters=2, max_epochs=2).items():
            hub.update_info(name, value)

    def _fit_preprocessor(self) -> None:
        """Batches are not padded to the size of the training's crops, which takes longer and shows no more."""
        preprocessor = self.model.data_preprocessor
        for part in (preprocessor, *(getattr(preprocessor, 'batch_augments', None) or ())):
            if getattr(part, 'size', None) is not None:
                part.size = (self.side, self.side)

    def run(self, labels: bool) -> None:
        with self._step('a training step', TrialError):
            self._learn(self._batch(training=True))
        with self._step('a prediction', TrialError), evaluating(self.model), torch.no_grad():
            self.model(**self._batch(training=False, images=1), mode='predict')  # as MMDetection tests
        if not labels:
            return
        with self._step('labelling new images', LabelsError), evaluating(self.model):
            pixels = torch.stack(self._images()['inputs']).to(next(self.model.parameters()).device)
            BatchLabels(self.model, confidence=0.0)(pixels, {}, [{}] * len(pixels))
        batch = self._batch(training=True)
        for sample in batch['data_samples']:  # as pipelines leave half of them
            sample.set_metainfo(dict(flip=True, flip_direction='horizontal'))
        with self._step('labelling a training batch', LabelsError), evaluating(self.model):
            predictions = self.labeller.predict(self.model, batch['inputs'], batch['data_samples'])
            predictions = with_targets(predictions, batch['data_samples'])
            self.labeller.assign(batch['data_samples'], predictions)
        with self._step('a training step on its own labels', LabelsError):
            self._learn(batch)

    def _batch(self, training: bool, images: int = 2) -> dict[str, Any]:
        return self.model.data_preprocessor(self._images(images), training)

    def _images(self, images: int = 2) -> dict[str, Any]:
        return new_batch(self.model, self.side, images, self.masks)

    def _learn(self, batch: dict[str, Any]) -> None:
        self.model.train()
        self.model.parse_losses(self.model(**batch, mode='loss'))[0].backward()
        self.model.zero_grad(set_to_none=True)

    @contextmanager
    def _step(self, what: str, kind: type[UserError]) -> Iterator[None]:
        """Says which step failed, whatever a model of any library raises."""
        try:
            yield
        except NotInstalledError:  # it says what to install
            raise
        except Exception as error:
            if is_missing(error):
                raise NotInstalledError(
                    f'{what} of {type(self.model).__name__} needs what is not installed ({first_line(error)}): '
                    'install it.'
                ) from error
            if NOT_FOR_CPUS in str(error):
                raise _MissingOnCpuError(first_line(error)) from error
            raise kind(
                f'{what} of {type(self.model).__name__} fails on images of {self.side} x {self.side} pixels '
                f'({type(error).__name__}: {first_line(error)}).'
            ) from error


def _look_at_fewer_objects(model: BaseModel) -> None:
    """Twenty in an image: a thousand proposals or a hundred masks take most of the time, and show no more.

    Learned proposals are all looked at: QueryInst takes their number for that of its masks.
    """
    if hasattr(getattr(model, 'rpn_head', None), 'num_proposals'):
        return
    for module in model.modules():
        for name in ('train_cfg', 'test_cfg'):
            _limit(getattr(module, name, None))


def _limit(settings: Any) -> None:
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in ('max_per_img', 'max_per_image') and isinstance(value, int):
                settings[key] = min(value, 20)
            else:
                _limit(value)
    elif isinstance(settings, (list, tuple)):
        for member in settings:
            _limit(member)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line for each parameter that MMEngine logs of what it initialises."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def put_maps(model: BaseModel, maps: BackboneMaps) -> None:
    """Puts what gives such maps in the place of a model's backbone, as a diffusion backbone will."""
    model.backbone = _Maps(maps)


class _Maps(nn.Module):
    def __init__(self, maps: BackboneMaps) -> None:
        super().__init__()
        self.strides = maps.strides
        self.projections = nn.ModuleList(nn.Conv2d(3, channels or 8, 1) for channels in maps.channels)

    def init_weights(self) -> None:
        """As every part of a model of OpenMMLab has it."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[-2:]
        return tuple(
            project(F.adaptive_avg_pool2d(images, (math.ceil(height / stride), math.ceil(width / stride))))
            for project, stride in zip(self.projections, self.strides)
        )
