"""Devices and folders that a command names, looked at before the long work."""

import os.path as osp
import tempfile

import torch

from ..utils.errors import UnusableFileError, UserError, first_line


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
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise UnusableFileError(
            f'{option} {folder} cannot be written ({place}: {error.strerror}): give another folder'
        ) from error
