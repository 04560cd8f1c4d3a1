"""What libraries say while they are imported, and nobody who uses this package can act on."""
import logging
from contextlib import contextmanager
from typing import Iterator

__all__ = ['image_processors_unannounced']


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
