"""What registered data sets say of themselves."""

from typing import Any

from mmengine.registry import DATASETS

from .errors import UserError

__all__ = ['metainfo_of']


def metainfo_of(dataset: str, field: str, mend: str) -> Any:
    """A field of the ``METAINFO`` of a data set of MMSeg, MMDet or the current scope.

    Args:
        dataset (str): Its registered name, such as 'ADE20KDataset'.
        field (str): 'classes' or 'palette'.
        mend (str): What to do where there is none, the end of the sentence.

    Raises:
        ValueError: It is unknown or says nothing of the kind.
    """
    for scope in (None, 'mmseg', 'mmdet'):
        found = DATASETS.get(dataset if scope is None else f'{scope}.{dataset}')
        if found is not None:
            break
    told = getattr(found, 'METAINFO', {}).get(field)
    if not told:
        raise UserError(f'the data set {dataset!r} is unknown or has no {field} in its METAINFO: {mend}')
    return told
