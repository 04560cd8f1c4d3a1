"""Which kind of label a name or a model means."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModel

from ..utils.errors import UnfitError, UserError, did_you_mean, options_of
from .base import Labeller, Task

__all__ = ['TASKS', 'build_task', 'labeller_for', 'register_task', 'task_of']

#: Name -> kind of label.
TASKS: dict[str, type[Task]] = {}


def register_task(task: type[Task]) -> type[Task]:
    """Class decorator: stores may hold labels of this kind, and models may ask for them by its name.

    A module of one's own that registers a kind is listed in the config's ``custom_imports``.
    """
    TASKS[task.name] = task
    return task


def build_task(name: str, classes: Sequence[str] = ()) -> Task:
    """A kind of label for a data set's classes.

    Raises:
        ValueError: No kind of this name is registered.
    """
    if name not in TASKS:
        raise UserError(f'a store cannot hold annotations of the task {name!r}: this version knows {_known()}.')
    return TASKS[name](classes)


def labeller_for(
    model: BaseModel, confidence: None | float | Sequence[float] = None, options: Mapping[str, Any] | None = None
) -> Labeller:
    """The labeller for a model.

    Args:
        model (BaseModel): Without wrapper.
        confidence (float | Sequence[float] | None): Threshold; None takes the task's default.
        options (Mapping | None): Other arguments of the labeller.

    Raises:
        TypeError: No labeller knows this kind of model.
        ValueError: An option that the labeller does not have, or out of range.
    """
    kind = task_of(model).labeller
    try:
        return kind(model, confidence, **(options or {}))
    except TypeError as error:
        known = [name for name in options_of(kind) if name not in ('model', 'confidence')]
        for name in options or {}:
            if name not in (*known, 'model', 'confidence'):
                raise UserError(
                    f'{kind.__name__} has no labelling option {name!r}'
                    + (did_you_mean(name, known) if known else ': beyond `confidence` it has none')
                ) from error
        raise UserError(
            f'labelling={dict(options or {})} does not fit {kind.__name__} ({error}): see its arguments.'
        ) from error


def task_of(model: BaseModel) -> type[Task]:
    """The kind of label that a model learns from.

    A model says it in ``label_tasks`` (a tuple of one name; ``label_task``, one name, is read too).
    Of others each registered kind is asked whether it :meth:`Task.fits`, the last registered first,
    so that a kind of one's own comes before those of this package.

    Raises:
        TypeError: No kind of label is for this model.
        ValueError: Its ``label_tasks`` are not registered, or several.
    """
    named = getattr(model, 'label_tasks', None) or getattr(model, 'label_task', None)
    if named is None:
        for task in reversed(TASKS.values()):
            if task.fits(model):
                return task
        raise UnfitError(
            f'theta_C cannot label for {type(model).__name__}: self-improvement works on '
            "MMSegmentation's segmentors (EncoderDecoder), on NormalEstimator and "
            "DepthMapEstimator, and on MMDetection's detectors "
            'and mask transformers (MaskFormer, Mask2Former).'
        )
    names = (named,) if isinstance(named, str) else tuple(named)
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise UserError(
            f'{type(model).__name__} names the label task {unknown[0]!r}, but only {_known()} are registered: '
            'correct its `label_tasks`, or list the module that registers the task in `custom_imports`.'
        )
    if len(names) > 1:
        raise UserError(
            f'{type(model).__name__} names the label tasks {", ".join(names)}, but theta_C labels for one task '
            'in a run: name one in `label_tasks`.'
        )
    return TASKS[names[0]]


def _known() -> str:
    return ', '.join(sorted(TASKS))
