"""What libraries say while they are imported, and nobody who uses this package can act on."""

import importlib
import logging
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer


def _about_something_else(record: logging.LogRecord) -> bool:
    return 'requires torchvision' not in record.getMessage()


def leave_image_processors_unannounced() -> None:
    """transformers does not say which image processors it takes without torchvision.

    diffusers imports two of them for safety checkers and image prompts, which nothing here uses.
    It is imported when it is needed, so this holds from now on. Log levels stay as they are, and all
    other messages come through. Calling it again changes nothing.
    """
    logging.getLogger('transformers.utils.import_utils').addFilter(_about_something_else)


def _adafactor(params: Iterable, *args: Any, **kwargs: Any) -> Any:
    from transformers import Adafactor

    return Adafactor(params, *args, **kwargs)


def import_optimizers_alone() -> None:
    """Imports MMEngine's optimizers without transformers, half of the time of all other imports.

    MMEngine imports transformers (and that peft) for one optimizer, ``Adafactor``. It is registered
    here under this name, and imported when a config asks for it. Where either was imported before,
    nothing is left to save.
    """
    if 'mmengine.optim' in sys.modules or 'transformers' in sys.modules:
        return
    sys.modules['transformers'] = None  # Python's own way to say: as if it were not installed
    try:
        optim = importlib.import_module('mmengine.optim')
    finally:
        del sys.modules['transformers']
    if 'Adafactor' not in optim.OPTIMIZERS:
        optim.OPTIMIZERS.register_module(name='Adafactor', module=_adafactor)


def default_store() -> torch.distributed.Store:
    """Keys and values that all processes of a run see, without the time limit of collective operations."""
    return torch.distributed.distributed_c10d._get_default_store()


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
