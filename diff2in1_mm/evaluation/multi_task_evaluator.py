"""All figures of several tasks in one table, and how far they are above models of one task each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import EVALUATOR

from ..utils.errors import UserError, did_you_mean
from ..utils.values import is_number

__all__ = ['HEADLINES', 'MultiTaskEvaluator', 'multi_task_gain']

#: Last part of a figure's name -> whether less is better: the one figure of each task that papers compare.
HEADLINES = dict(mIoU=False, rmse=True, mean=True, odsF=False, maxF=False)


@EVALUATOR.register_module()
class MultiTaskEvaluator(Evaluator):
    """MMEngine's ``Evaluator`` that logs one table of all tasks and, told what models of one task reach, the gain
    ``delta_m`` of the multi-task model.

    In a config: ``val_evaluator = dict(type='MultiTaskEvaluator', metrics=[dict(type='IoUMetric',
    prefix='segmentation'), ...], alone={'segmentation/mIoU': 41.0, 'depth/rmse': 0.6})``.

    Args:
        metrics (list[dict]): Each with a ``prefix``.
        alone (Mapping[str, float] | None): Figure, as it is logged, -> its value of the model of that task alone.
        lower_is_better (Mapping[str, bool]): Of figures other than mIoU, odsF, maxF, rmse and the mean angular error.

    Raises:
        ValueError: ``alone`` names the figure of no metric, or one of which nobody said what is better, or gives no
            number; as far as it shows before the first evaluation.
    """

    def __init__(
        self, metrics: Any, alone: Mapping[str, float] | None = None, lower_is_better: Mapping[str, bool] | None = None
    ) -> None:
        super().__init__(metrics)
        for name, value in (('alone', alone), ('lower_is_better', lower_is_better)):
            if value is not None and not isinstance(value, Mapping):
                raise UserError(
                    f"`{name}` of MultiTaskEvaluator must be a dict of figures, such as 'depth/rmse', not {value!r}"
                )
        self.alone, self.lower_is_better = dict(alone or {}), dict(lower_is_better or {})
        self._check_alone()

    def _check_alone(self) -> None:
        """Looks at ``alone``; whether a metric gives a figure of that name shows with the first evaluation."""
        prefixes = [getattr(metric, 'prefix', None) for metric in self.metrics]
        known = tuple(f'{prefix}/' for prefix in prefixes)
        for name, value in self.alone.items():
            # a metric without prefix may give any name
            if all(prefixes) and not str(name).startswith(known):
                raise UserError(
                    f'`alone` of MultiTaskEvaluator names {name!r}, which begins with the prefix of no metric'
                    + did_you_mean(str(name).partition('/')[0] + '/', known)
                )
            if not is_number(value):
                raise UserError(
                    f'`alone` of MultiTaskEvaluator has {value!r} for {name!r}: give the number that the model of that '
                    'task alone reaches'
                )
            _lower_is_better(name, self.lower_is_better)

    def evaluate(self, size: int) -> dict:
        """As in ``Evaluator``, with ``delta_m`` in percent."""
        figures = super().evaluate(size)
        if self.alone:
            figures['delta_m'] = multi_task_gain(figures, self.alone, self.lower_is_better)
        print_log(_table(figures, self.alone), 'current')
        return figures


def multi_task_gain(
    figures: Mapping[str, float], alone: Mapping[str, float], lower_is_better: Mapping[str, bool] | None = None
) -> float:
    """Mean relative gain over models of one task: equation 4 of Maninis et al. (ASTMT, CVPR 2019), in percent.

    Args:
        figures (Mapping[str, float]): Of the multi-task model.
        alone (Mapping[str, float]): Of models of one task each, by the same names; one for each task.
        lower_is_better (Mapping[str, bool] | None): Of figures that :data:`HEADLINES` does not know.

    Returns:
        float: Above 0 where the multi-task model is better.

    Raises:
        ValueError: A name that is not among the figures, or of which nobody said what is better.
    """
    gains = []
    for name, single in alone.items():
        if name not in figures:
            raise UserError(
                f'`alone` of MultiTaskEvaluator names {name!r}, which no metric gives'
                + did_you_mean(name, list(figures))
            )
        lower = _lower_is_better(name, lower_is_better or {})
        change = (figures[name] - single) / abs(single) if single else math.nan
        gains.append(-change if lower else change)
    return 100 * sum(gains) / len(gains)


def _lower_is_better(name: str, given: Mapping[str, bool]) -> bool:
    """Whether less of a figure is better.

    Raises:
        ValueError: Nobody said so, or not with True or False.
    """
    figure = name.rpartition('/')[2]
    lower = given.get(name, HEADLINES.get(figure))
    if lower is None:
        raise UserError(
            f'say in `lower_is_better` of MultiTaskEvaluator whether less of {name!r} is better'
            + did_you_mean(figure, HEADLINES)
        )
    if not isinstance(lower, bool):
        raise UserError(f'`lower_is_better` of MultiTaskEvaluator has {lower!r} for {name!r}: give True or False')
    return lower


def _table(figures: Mapping[str, float], alone: Mapping[str, float]) -> str:
    """One line a task: its headline first, the others behind."""
    tasks: dict[str, list[str]] = {}
    for name, value in figures.items():
        task, _, figure = name.rpartition('/')
        text = f'{figure} {value:.4g}' + (f' (alone {alone[name]:.4g})' if name in alone else '')
        own = tasks.setdefault(task, [])
        own.insert(0 if figure in HEADLINES else len(own), text)
    width = max(map(len, tasks))
    return '\n'.join(['All tasks:', *(f'  {task:<{width}}  {", ".join(own)}' for task, own in tasks.items())])


def metrics_of(evaluator: Any) -> Sequence[Any]:
    """The metrics that a config names in an evaluator: a list, one metric, or those of an evaluator of its own."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        return metrics_of(evaluator['metrics'])
    return evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
