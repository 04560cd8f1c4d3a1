"""Faults that this package names are told in one sentence; all others keep their traceback."""

import difflib
import errno
import inspect
import os.path as osp
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_NAME = __package__.partition('.')[0]
# What Python says of an argument that a function of ours does not have.
_UNKNOWN = re.compile(
    r'(?:(?P<owner>\w+)\.)?(?P<call>\w+)\(\) got an unexpected keyword argument '
    r"'(?P<option>\w+)'"
)
_LACKING = re.compile(
    r'(?P<owner>\w+)\.__init__\(\) missing \d+ required [\w-]+ arguments?: '
    r'(?P<options>.+)'
)


class UserError(ValueError):
    """A fault of what the program was given, told in one sentence that says the mend.

    Commands print the sentence and end with status 2, see :func:`told_in_a_sentence`. The kinds below are also
    what Python calls such a fault.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder is not where it was said to be."""


class UnusableFileError(UserError, OSError):
    """A file cannot be read or written."""


class FileInTheWayError(UserError, FileExistsError):
    """A file or folder is where a new one is to be."""


class NotAFileError(UserError, IsADirectoryError):
    """A folder in place of a file."""


class NotInstalledError(UserError, ImportError):
    """A library is not installed."""


class UnfitError(UserError, TypeError):
    """An object of a kind that does not fit here."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough to be part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip('. ')


def some(names: Iterable[Any], most: int = 3) -> str:
    """The first of many names, and how many there are beyond, as part of a sentence; '' for none."""
    names = list(map(str, names))
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


_UNWRITTEN = {
    errno.ENOSPC: 'no space left for {}: free some, then --resume',
    errno.EDQUOT: 'the disk quota is used up at {}: free some space, then --resume',
    errno.EROFS: '{} lies on a read-only file system: give a folder that can be written',
    errno.EACCES: 'no permission for {}: change its owner or mode, or give another path',
    errno.EPERM: 'no permission for {}: change its owner or mode, or give another path',
}


def why_not_written(error: OSError, path: str | Path | None = None) -> str | None:
    """The sentence about a file that the system does not let be written.

    Args:
        error (OSError): Of the system.
        path (str | Path | None): What was written. None: what the error itself names.

    Returns:
        str | None: None for errors of other kinds, and where nobody knows the path.
    """
    path = path or error.filename
    if error.errno not in _UNWRITTEN or isinstance(error, UserError) or path is None:
        return None
    return _UNWRITTEN[error.errno].format(path)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a misspelt name: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f'; did you mean {near[0]!r}?'
    return f': it knows {", ".join(known)}' if known else ': it has none'


def has_no_option(called: Callable, option: str, name: str | None = None) -> str:
    """The sentence about an option that a class or function does not have.

    Args:
        called (Callable): The class or function.
        option (str): What it was given.
        name (str | None): Instead of its own name.
    """
    return f'{name or called.__name__} has no option {option!r}' + did_you_mean(option, options_of(called))


def options_of(called: Callable) -> list[str]:
    """Names of a function's arguments, or a class's; those that it hands on to its bases too."""
    names: list[str] = []
    bases = called.__mro__ if inspect.isclass(called) else [called]
    for base in bases:
        function = vars(base).get('__init__') if inspect.isclass(called) else base
        if function is None:
            continue
        parameters = inspect.signature(function).parameters.values()
        names += [
            p.name
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in ('self', 'cls', *names)
        ]
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return names


@contextmanager
def misspellings_named() -> Iterator[None]:
    """Turns options that a class of ours lacks, and types that no registry has, into sentences.

    Raises:
        ValueError: Instead of Python's ``TypeError`` and the registries' ``KeyError``.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        sentence = _misspelt(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _misspelt(error: BaseException) -> str | None:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, KeyError):
        return _unknown_type(frames[-1])
    lacking = _LACKING.search(str(error))
    if lacking:
        called = _called(frames[-1], lacking['owner'])
        return called and f'{called.__name__} needs the option {lacking["options"]}: set it'
    found = _UNKNOWN.search(str(error))
    called = found and _called(frames[-1], found['owner'] or found['call'])
    if called is None:
        return None
    if not found['owner'] or found['call'] == '__init__':
        return has_no_option(called, found['option'])
    # constructors of other names; a method that is called wrongly is a bug
    method = getattr(called, found['call'], None)
    if inspect.ismethod(method):
        return has_no_option(method, found['option'], called.__name__)
    return None


def _called(frame: FrameType, name: str) -> Any | None:
    """What a frame has just called by this name, if it is ours: a class, or one of a base."""
    within = frame.f_locals
    for known in (
        within.get('obj_cls'),
        type(within.get('self')),
        within.get('cls'),
        frame.f_globals.get(name),
    ):  # MMEngine's registries, a subclass, a plain call
        names = [base.__name__ for base in getattr(known, '__mro__', ())]
        if getattr(known, '__module__', '').partition('.')[0] == _NAME and name in (
            *names,
            getattr(known, '__name__', None),
        ):
            return known
    return None


def _unknown_type(frame: FrameType) -> str | None:
    """The sentence about a ``type`` that MMEngine's builder did not find in its registry."""
    kind, registry = frame.f_locals.get('obj_type'), frame.f_locals.get('registry')
    if not _in_registries(frame.f_code.co_filename) or not isinstance(kind, str):
        return None
    while registry.parent is not None:
        registry = registry.parent
    known = set(registry.module_dict)
    for scope, child in registry.children.items():
        if kind in child.module_dict:
            return (
                f'the type {kind!r} is one of {scope}, which the config does not name: set '
                f'default_scope = {scope!r}, or write {f"{scope}.{kind}"!r}'
            )
        known.update(child.module_dict)
    near = difflib.get_close_matches(kind.rpartition('.')[2], sorted(known), n=1)
    mend = (
        f'did you mean {near[0]!r}?'
        if near
        else ('correct it, or name the module of a class of your own in custom_imports')
    )
    return f'there is no type {kind!r} in the registry {registry.name!r}; {mend}'


@contextmanager
def told_in_a_sentence(prog: str, folder: str | None = None) -> Iterator[None]:
    """Ends the program with ``PROG: SENTENCE`` and status 2 where bad input was named inside.

    MMEngine's registries put an error into another one that names the class they were building;
    the innermost counts.

    Args:
        prog (str): How the program is called.
        folder (str | None): Where it writes, for errors of a full disk that name no file.

    Raises:
        SystemExit: A :class:`UserError`, a name was misspelt (:func:`misspellings_named`), or a file could not be
            written (:func:`why_not_written`), such as a log of MMEngine.
    """
    try:
        with misspellings_named():
            yield
    except Exception as error:
        named = _innermost(error)
        if named is None and isinstance(error, OSError):
            named = why_not_written(error, error.filename or folder)
        if named is None:
            raise
        print(f'{prog}: {named}', file=sys.stderr)
        raise SystemExit(2) from error


def _innermost(error: BaseException | None) -> UserError | None:
    """The innermost :class:`UserError` of a chain of causes.

    An error that was being handled counts as a cause where its words were repeated, as MMEngine's registries do.
    """
    found = None
    while error is not None:
        if isinstance(error, UserError):
            found = error
        handled = error.__context__
        repeated = handled is not None and str(handled) and str(handled) in str(error)
        error = error.__cause__ or (handled if repeated else None)
    return found


def _in_registries(filename: str) -> bool:
    return f'{osp.sep}mmengine{osp.sep}registry{osp.sep}' in filename
