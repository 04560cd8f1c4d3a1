"""What libraries say that nobody can act on, left out."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.logging import MMLogger

#: Beginnings of what MMSegmentation warns of whenever a model and its default hooks are built, and huggingface_hub
#: whenever diffusers asks it for a file; nothing is wrong then.
_OF_EVERY_MODEL = (
    '``build_loss`` would be deprecated',
    'Default ``avg_non_ignore`` is False',
    'The draw is False',
    'The `local_dir_use_symlinks` argument is deprecated',
)


def _about_something_else(record: logging.LogRecord) -> bool:
    return 'requires torchvision' not in record.getMessage()


def leave_image_processors_unannounced() -> None:
    """transformers does not say which image processors it takes without torchvision.

    diffusers imports two of them for safety checkers and image prompts, which nothing here uses.
    It is imported when it is needed, so this holds from now on. Log levels stay as they are, and all
    other messages come through. Calling it again changes nothing.
    """
    logging.getLogger('transformers.utils.import_utils').addFilter(_about_something_else)


def leave_known_warnings_untold() -> None:
    """Libraries do not warn of what they warn of with every model, from now on.

    For commands, whose process it is; all else holds it to where a model is built, by
    :func:`known_warnings_untold`. Calling it again changes nothing.
    """
    for message in _OF_EVERY_MODEL:
        warnings.filterwarnings('ignore', message)


@contextlib.contextmanager
def known_warnings_untold() -> Iterator[None]:
    """As :func:`leave_known_warnings_untold`, inside alone."""
    with warnings.catch_warnings():
        leave_known_warnings_untold()
        yield


@contextlib.contextmanager
def mismatches_untold() -> Iterator[None]:
    """MMEngine does not list, over dozens of lines, which weights of a checkpoint have no place in a model.

    For who says it in a sentence afterwards, as :func:`diff2in1_mm.hooks.read_checkpoint.load_weights` does.
    """
    logger = MMLogger.get_current_instance()

    def others(record: logging.LogRecord) -> bool:
        return 'do not match exactly' not in record.getMessage()

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


@contextlib.contextmanager
def no_bar_of_weights(kind: Any) -> Iterator[None]:
    """transformers 5 draws a bar while it reads weights from the disk; those of downloads stay."""
    if not kind.__module__.startswith('transformers'):
        yield
        return
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    drawn, downloads = logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()
    logging.disable_progress_bar()
    try:
        if downloads:  # transformers has switched these off as well
            hub.enable_progress_bars()
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
        if not downloads:
            hub.disable_progress_bars()
