"""Reads config files, and puts a command line's settings into them; what is wrong is told in a sentence."""

import os.path as osp
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.config.config
from mmengine.config import Config

from ..utils.errors import MissingFileError, NotInstalledError, UserError, first_line

__all__ = ['check_has', 'faults_told', 'merge_options', 'not_importable', 'read_config']

_READERS = ('_is_lazy_import', '_file2dict', '_parse_lazy_import')  # of MMEngine: what reads one file


def read_config(path: str) -> Config:
    """A config file as MMEngine reads it.

    Args:
        path (str): As the user gave it, for the message too.

    Raises:
        ValueError: See :func:`faults_told`.
    """
    with faults_told(path):
        return Config.fromfile(path)


@contextmanager
def faults_told(path: str) -> Iterator[None]:
    """Names the file, of those that a config inherits, with which MMEngine fails inside.

    Args:
        path (str): The config that is read inside.

    Raises:
        FileNotFoundError: It inherits what is not there.
        ImportError: It imports what is not installed.
        ValueError: Python or MMEngine cannot make a config of it.
    """
    try:
        yield
    except UserError as error:  # such as that of a `_base_` that asks for one of ours
        raise type(error)(f'{path}: {error}') from error
    except Exception as error:  # whatever a faulty file raises
        raise _sentence(path, error) from error


def _sentence(path: str, error: Exception) -> UserError:
    asked = _files_read(error)
    read = list(asked)
    for file, base in asked.items() if isinstance(error, FileNotFoundError) else ():
        if base and ('::' in base or not osp.exists(base)):
            asking = path if file == read[0] else file
            return MissingFileError(f'{asking} inherits {base}, which does not exist: correct its `_base_`')
    faulty = path if len(read) < 2 else f'{read[-1]}, which {path} inherits,'
    if isinstance(error, ImportError):
        return not_importable(faulty, error)
    said, line = (error.msg, error.lineno) if isinstance(error, SyntaxError) else (first_line(error), None)
    for frame, number in traceback.walk_tb(error.__traceback__):
        if read and osp.abspath(frame.f_code.co_filename) == read[-1]:
            line = number
    where = '' if line is None else f', line {line}'
    return UserError(f'{faulty} cannot be read as a config ({type(error).__name__}: {said}{where}): mend it first')


def _files_read(error: Exception) -> dict[str, str]:
    """The files that MMEngine was reading when an error came, each with the base that it was about to read, or ''.

    Its errors do not say them: those of Python's parser name no file at all.
    """
    found: dict[str, str] = {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        inside, path = frame.f_globals is vars(mmengine.config.config), frame.f_locals.get('filename')
        if inside and frame.f_code.co_name in _READERS and isinstance(path, str):
            base = frame.f_locals.get('base_cfg_path', '')  # a path, or the name in a library until that is found
            found[osp.abspath(osp.expanduser(path))] = base if '::' in base else base and osp.abspath(base)
    return found


def not_importable(config: str, error: ImportError) -> NotInstalledError:
    """The sentence about a config that imports what is not there.

    Args:
        config (str): Its name.
        error (ImportError): Of MMEngine, whose own text lists all of ``sys.path``.
    """
    return NotInstalledError(
        f'{config} imports what Python does not find ({first_line(error.__cause__ or error)}): '
        'install it, or put its folder on PYTHONPATH.'
    )


def check_has(cfg: Config, path: str, *names: str) -> None:
    """Whether a config says all that a run needs.

    Args:
        cfg (Config): To look at.
        path (str): Where it comes from, for the message.
        *names: Of settings at its top.

    Raises:
        ValueError: One of them is missing or None.
    """
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise UserError(
            f'{path} has no {", ".join(missing)}: give the config of a whole run, or inherit from one by `_base_`'
        )


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Puts what ``--cfg-options`` say into a config, as MMEngine does.

    Args:
        cfg (Config): Changed; left as it is where an option has no place in it.
        options (dict): Values by keys with dots.

    Raises:
        ValueError: A key leads past the end of a list, or into what is neither a list nor a dict.
    """
    try:
        cfg.merge_from_dict(options)
    except Exception as error:  # of several kinds
        said = next(filter(None, (_misplaced(cfg, key) for key in options)), None)
        said = said or f'{" ".join(options)} cannot be set ({first_line(error)}): correct them'
        raise UserError(f'--cfg-options {said}') from error


def _misplaced(cfg: Config, key: str) -> str | None:
    """Why a key with dots has no place in a config; None: it has one."""
    node: Any = cfg._cfg_dict
    parts = key.split('.')
    for depth, part in enumerate(parts):
        place = '.'.join(parts[:depth])
        if isinstance(node, dict):
            if part not in node:
                return None
            node = dict.__getitem__(node, part)  # its own would import what new-style configs name
        elif not isinstance(node, list):
            return f'{key}: {place} is {node!r}, which has no parts: set {place} itself'
        elif not part.isdigit():
            return f'{key}: {place} is a list, whose items go by numbers: write {place}.0 for the first'
        elif int(part) >= len(node):
            there = f'{len(node)} items: give a number from 0 to {len(node) - 1}' if node else 'no items'
            return f'{key}: {place} has {there}, or set {place} as a whole'
        elif depth == len(parts) - 1 and not isinstance(node[int(part)], (dict, list)):
            return f'{key}: MMEngine does not set single values of a list: set {place}="[a,b]" as a whole'
        else:
            node = node[int(part)]
    return None
