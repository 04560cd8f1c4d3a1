"""How figures of validations are read: what is better, in which unit, and which of them decides."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..utils.errors import UserError

__all__ = ['Metric', 'deciding', 'read_metric']


class Metric(NamedTuple):
    """A figure and how it is read.

    Attributes:
        name (str): As the validation gives it.
        more_is_better (bool): False for errors.
        scale (float): That tables multiply it by: 100 for shares and metres.
        unit (str): Of a difference of two, so multiplied; '' where that is not known.
    """

    name: str
    more_is_better: bool = True
    scale: float = 1.0
    unit: str = ''

    @property
    def told(self) -> str:
        """str: The name with the scale."""
        return self.name if self.scale == 1 else f'{self.scale:g} x {self.name}'


_POINTS = dict(unit='percentage points')
_SHARE = dict(scale=100.0, unit='percentage points')
_DEGREES = dict(more_is_better=False, unit='degrees')
#: Last part of a name -> how it is read, in the order in which a run's figures are looked through.
_DECIDING: dict[str, dict[str, Any]] = {
    'delta_m': _POINTS,
    'mIoU': _POINTS,
    'segm_mAP': _SHARE,
    'bbox_mAP': _SHARE,
    'PQ': _POINTS,
    'mAP': _SHARE,
    'mean': _DEGREES,  # of normals, before their rmse
    'rmse': dict(more_is_better=False, scale=100.0, unit='cm'),
    'odsF': _POINTS,
    'maxF': _POINTS,
}
_ALSO: list[tuple[str, dict[str, Any]]] = [  # pattern of last parts, how they are read
    (r'median', _DEGREES),
    (r'abs_rel|sq_rel|rmse_log|log10|silog|mae|mse|.*loss.*', dict(more_is_better=False)),
    (r'oisF|SQ|RQ|[PSR]Q_(th|st)|[am]Acc|(IoU|Acc)\..+|m(Dice|Fscore|Precision|Recall)|a[\d.]+', _POINTS),
    (r'(segm|bbox)_mAP.+|AP\d+|.+_precision|AR@.+|d[123]', _SHARE),
]


def read_metric(name: str, figures: Iterable[str] = (), more_is_better: bool | None = None) -> Metric:
    """How a figure is read, by the last part of its name.

    Args:
        name (str): Such as ``mIoU``, ``coco/bbox_mAP`` or ``depth/rmse``.
        figures (Iterable[str]): Names of all figures of the validation: an ``rmse`` beside a ``median`` of the same
            prefix is one of angles.
        more_is_better (bool | None): What the user says; None: nothing.

    Raises:
        ValueError: The name is not known, and the user says nothing.
    """
    prefix, slash, last = name.rpartition('/')
    found = _DECIDING.get(last) or next((read for pattern, read in _ALSO if re.fullmatch(pattern, last)), None)
    if last == 'rmse' and f'{prefix}{slash}median' in figures:
        found = _DEGREES
    if found is None and more_is_better is None:
        raise UserError(f'whether more or less of {name!r} is better is not known: say it with --rule greater or less')
    said = {} if more_is_better is None else dict(more_is_better=more_is_better)
    return Metric(name, **{**(found or {}), **said})


def deciding(figures: Iterable[str]) -> str:
    """The figure that decides, of those of a validation.

    Raises:
        ValueError: None that one would take unasked is there.
    """
    names = list(figures)
    for last in _DECIDING:
        for name in names:
            if name.rpartition('/')[2] == last:
                return name
    raise UserError(f'name one of {", ".join(names)} with --metric')
