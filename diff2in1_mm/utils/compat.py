"""What libraries say while they are imported, and nobody who uses this package can act on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer


def _about_something_else(record: logging.LogRecord) -> bool:
    return 'requires torchvision' not in record.getMessage()


@contextmanager
def image_processors_unannounced() -> Iterator[None]:
    """Inside, transformers does not say which image processors it takes without torchvision.

    diffusers imports two of them for safety checkers and image prompts, which nothing here uses.
    Log levels stay as they are, and all other messages come through.
    """
    logger = logging.getLogger('transformers.utils.import_utils')
    logger.addFilter(_about_something_else)
    try:
        yield
    finally:
        logger.removeFilter(_about_something_else)


_NUMERIC_DTYPES = (
    'Bool',
    'Int8',
    'Int16',
    'Int32',
    'Int64',
    'UInt8',
    'UInt16',
    'UInt32',
    'UInt64',
    'Float16',
    'Float32',
    'Float64',
)


def _history_statistic(owner: Any, name: str) -> Any:
    """What ``getattr`` may do in a checkpoint: name a statistic of :class:`HistoryBuffer`.

    A pickled ``HistoryBuffer`` refers to its methods as ``getattr(HistoryBuffer, 'mean')``. The
    builtin itself would open every attribute of every allowed class to a hostile file.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise ValueError(
        f'the checkpoint asks for the attribute {name!r} of {owner!r}, which no '
        'checkpoint of MMEngine does: do not load it.'
    )


def allow_mmengine_checkpoints() -> None:
    """Adds to ``torch.serialization`` what MMEngine's own checkpoints hold beside tensors.

    That is: log histories (``HistoryBuffer``, their numpy arrays and scalars) and nested parts of
    a data set's meta information (``ConfigDict``). Calling it again changes nothing.
    """
    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    allowed = [HistoryBuffer, ConfigDict, np.ndarray, np.dtype, (_history_statistic, 'builtins.getattr')]
    # numpy 1 and 2 name the module differently, and files travel between them
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [(multiarray._reconstruct, f'{module}._reconstruct'), (multiarray.scalar, f'{module}.scalar')]
    allowed += [getattr(np.dtypes, f'{name}DType') for name in _NUMERIC_DTYPES]
    torch.serialization.add_safe_globals(allowed)
