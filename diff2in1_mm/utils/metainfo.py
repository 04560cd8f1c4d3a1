"""What registered data sets say of themselves."""

import inspect
from typing import Any

from mmengine.registry import DATASETS

from .errors import UserError

__all__ = ['metainfo_of', 'option_of']


def metainfo_of(dataset: str, field: str, mend: str) -> Any:
    """A field of the ``METAINFO`` of a data set of MMSeg, MMDet or the current scope.

    Args:
        dataset (str): Its registered name, such as 'ADE20KDataset'.
        field (str): 'classes' or 'palette'.
        mend (str): What to do where there is none, the end of the sentence.

    Raises:
        ValueError: It is unknown or says nothing of the kind.
    """
    told = getattr(_found(dataset), 'METAINFO', {}).get(field)
    if not told:
        raise UserError(f'the data set {dataset!r} is unknown or has no {field} in its METAINFO: {mend}')
    return told


def option_of(dataset: str, name: str, otherwise: Any) -> Any:
    """What a registered data set takes for an option that a config does not name.

    Args:
        dataset (str): Its registered name.
        name (str): Of the option.
        otherwise (Any): For one that has no such option, or no such value.
    """
    found = _found(dataset)
    parameter = None if found is None else inspect.signature(found).parameters.get(name)
    return otherwise if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _found(dataset: str) -> Any:
    for scope in (None, 'mmseg', 'mmdet'):
        found = DATASETS.get(dataset if scope is None else f'{scope}.{dataset}')
        if found is not None:
            return found
    return None
