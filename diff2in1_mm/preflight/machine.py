"""Devices and folders that a command names, looked at before the long work."""

import errno
import os
import os.path as osp
import tempfile

import torch

from ..utils.errors import UnusableFileError, UserError, first_line, why_not_written

_LEAST_SPACE = 64 * 1024  # bytes


def check_device(device: str | None) -> None:
    """Whether computing on a device is possible here.

    Args:
        device (str | None): Such as 'cuda:1'; None is left to who asks.

    Raises:
        ValueError: It is not there, or torch is built without it.
    """
    if device is None:
        return
    why = None
    try:
        wanted = torch.device(device)
        if wanted.type != 'cuda':
            torch.empty(0, device=wanted)
        elif not torch.cuda.is_available():
            why = 'torch sees no GPU here' if torch.version.cuda else 'torch is built for CPUs only'
        elif (wanted.index or 0) >= torch.cuda.device_count():
            why = f'there are {torch.cuda.device_count()} GPUs, counted from 0'
    except Exception as error:  # of several kinds, as torch's builds differ
        why = first_line(error)
    if why:
        raise UserError(f'--device {device} cannot be used ({why}): give another, such as cpu, or leave it out')


def check_writable(folder: str, option: str) -> None:
    """Whether files can be written into a folder, or it can be made; nothing is left behind.

    Args:
        folder (str): May be missing.
        option (str): That names it on the command line.

    Raises:
        OSError: They cannot.
    """
    place = osp.abspath(folder)
    while not osp.lexists(place):
        place = osp.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(_LEAST_SPACE))  # a full disk still takes an empty file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnusableFileError(f'{option}: {why_not_written(error, folder)}') from error
        raise UnusableFileError(
            f'{option} {folder} cannot be written ({place}: {error.strerror}): give another folder'
        ) from error
