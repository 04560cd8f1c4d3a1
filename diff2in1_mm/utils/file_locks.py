"""Locks between processes, where the file system has them."""

import errno
import logging
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock
from mmengine.logging import print_log

from .errors import UnusableFileError

__all__ = ['file_lock']

# What network file systems without a lock service say; ENOSYS is filelock's own matter.
_NONE = (errno.ENOLCK, errno.EOPNOTSUPP)
_told: set[str] = set()


@contextmanager
def file_lock(path: str, timeout: float = -1, poll_interval: float = 0.05, needed: bool = False) -> Iterator[None]:
    """Holds a lock while the block lasts; goes on without one, and says so once, where there are none.

    Args:
        path (str): A file of its own, which is made.
        timeout (float): Seconds to wait; -1 for ever. Default -1.
        poll_interval (float): Seconds between two tries. Default 0.05.
        needed (bool): The block does not stay whole when two processes run it at once, as one does that only renames
            files into place: stop where there are no locks. Default False.

    Raises:
        filelock.Timeout: Another process holds it for longer.
        OSError: The file cannot be made, or there are no locks and one is needed.
    """
    lock = FileLock(path, timeout=timeout, poll_interval=poll_interval)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NONE:
            raise
        if needed:
            raise UnusableFileError(
                f'the file system of {osp.dirname(path)} has no locks ({error.strerror}): put it on another one, such '
                'as a local disk'
            ) from error
        _tell(osp.dirname(path), error)
    try:
        yield
    finally:
        lock.release()


def _tell(folder: str, error: OSError) -> None:
    if folder not in _told:
        _told.add(folder)
        print_log(
            f'The file system of {folder} has no locks ({error.strerror}): processes that write there at once may do '
            'the same work twice.',
            'current',
            logging.WARNING,
        )
