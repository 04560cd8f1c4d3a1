"""Which kind of label a name or a model means."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModel

from ..utils.errors import UnfitError, UserError, did_you_mean, options_of
from .base import Labeller, Task
from .joint import JointLabeller, model_of

__all__ = ['TASKS', 'build_task', 'labeller_for', 'register_task', 'tasks_of']

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


def labeller_for(model: BaseModel, confidence: Any = None, options: Mapping[str, Any] | None = None) -> Labeller:
    """The labeller for a model.

    Args:
        model (BaseModel): Without wrapper.
        confidence (float | Sequence[float] | None): Threshold; None takes the task's default. Of a
            model with several tasks a mapping from a task's name to its own.
        options (Mapping | None): Other arguments of the labeller; likewise.

    Returns:
        Labeller: Of the model's task; a :class:`JointLabeller` where it has several.

    Raises:
        TypeError: No labeller knows this kind of model.
        ValueError: An option that the labeller does not have, or out of range.
    """
    tasks = tasks_of(model)
    if len(tasks) == 1:
        (task,) = tasks
        own = _labeller(task.labeller, model_of(model, task.name), confidence, options)
        return JointLabeller({task.name: own}) if hasattr(model, 'of_task') else own
    names = [task.name for task in tasks]
    for argument, value in (('confidence', confidence), ('labelling', options)):
        if value is not None and not (isinstance(value, Mapping) and set(value) <= set(names)):
            raise UserError(
                f'{type(model).__name__} learns from {", ".join(names)}: give {argument} by task, '
                f'as dict({names[0]}=...), not {value!r}.'
            )
    confidence, options = confidence or {}, options or {}
    return JointLabeller(
        {
            task.name: _labeller(
                task.labeller, model_of(model, task.name), confidence.get(task.name), options.get(task.name)
            )
            for task in tasks
        }
    )


def _labeller(kind: type[Labeller], model: BaseModel, confidence: Any, options: Mapping[str, Any] | None) -> Labeller:
    try:
        return kind(model, confidence, **(options or {}))
    except TypeError as error:
        if isinstance(error, UserError) or not options:  # such as a kind of model that it does not take
            raise
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


def tasks_of(model: BaseModel) -> list[type[Task]]:
    """The kinds of labels that a model learns from.

    A model says them in ``label_tasks`` (a tuple of names; ``label_task``, one name, is read too);
    one with several has ``of_task(name)``, see :func:`model_of`. Of others each registered kind is
    asked whether it :meth:`Task.fits`, the last registered first, so that a kind of one's own comes
    before those of this package.

    Raises:
        TypeError: No kind of label is for this model.
        ValueError: Its ``label_tasks`` are not registered.
    """
    named = getattr(model, 'label_tasks', None) or getattr(model, 'label_task', None)
    if named is None:
        for task in reversed(TASKS.values()):
            if task.fits(model):
                return [task]
        raise UnfitError(
            f'theta_C cannot label for {type(model).__name__}: self-improvement works on '
            "MMSegmentation's segmentors (EncoderDecoder), on NormalEstimator, DepthMapEstimator, MultiTaskEstimator, "
            "and on MMDetection's detectors, mask transformers (MaskFormer, Mask2Former) and PanopticFPN."
        )
    names = (named,) if isinstance(named, str) else tuple(named)
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise UserError(
            f'{type(model).__name__} names the label task {unknown[0]!r}, but only {_known()} are registered: '
            'correct its `label_tasks`, or list the module that registers the task in `custom_imports`.'
        )
    if len(names) > 1 and not hasattr(model, 'of_task'):
        raise UnfitError(
            f'{type(model).__name__} names the label tasks {", ".join(names)}: a model of several tasks has a method '
            '`of_task(name)` that gives what predicts one, such as a segmentor over one of the heads.'
        )
    return [TASKS[name] for name in names]


def _known() -> str:
    return ', '.join(sorted(TASKS))
