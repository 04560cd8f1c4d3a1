"""Folders that are there wholly or not at all."""

import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Callable

from .errors import UserError

__all__ = ['replace_folder']


def replace_folder(folder: str, write: Callable[[str], None]) -> None:
    """Let ``write`` fill a temporary folder, then put it in the place of ``folder``.

    What a killed process left beside it is removed, or put back where it was the last whole one.

    Args:
        folder (str): Target; an existing one is replaced.
        write (Callable): Takes the path of an empty folder.

    Raises:
        ValueError: The process works in this folder, which would be taken from under it.
    """
    folder = osp.abspath(folder)
    if osp.commonpath([folder, os.getcwd()]) == folder:
        raise UserError(f'{folder} is where this command runs, and would be replaced: give a folder below it')
    parent, name = osp.split(folder)
    os.makedirs(parent, exist_ok=True)
    _clear_leftovers(parent, name)
    fresh = tempfile.mkdtemp(prefix=f'.{name}.new-', dir=parent)
    try:
        os.chmod(fresh, 0o755)  # mkdtemp makes it private
        write(fresh)
        if osp.isdir(folder):
            old = tempfile.mkdtemp(prefix=f'.{name}.old-', dir=parent)
            os.rename(folder, osp.join(old, name))
            os.rename(fresh, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _clear_leftovers(parent: str, name: str) -> None:
    for entry in sorted(os.listdir(parent)):
        if (
            entry.startswith(f'.{name}.old-')
            and not osp.isdir(osp.join(parent, name))
            and osp.isdir(osp.join(parent, entry, name))
        ):
            os.rename(osp.join(parent, entry, name), osp.join(parent, name))
        if entry.startswith((f'.{name}.old-', f'.{name}.new-')):
            shutil.rmtree(osp.join(parent, entry), ignore_errors=True)
