"""Faults that this package names are told in one sentence; all others keep their traceback."""

import difflib
import errno
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
# What MMEngine says of a type that it does not find.
_NO_TYPE = re.compile(r'(?P<kind>[\w.]+) is not in the \w+::(?P<registry>[\w ]+) registry')


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
    """What an error of a library says, short enough to be part of a sentence; one of ours whole, as its end mends."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][: None if isinstance(error, UserError) else 200].rstrip('. ')


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
    lacking, unknown, no_type = (said.search(str(error)) for said in (_LACKING, _UNKNOWN, _NO_TYPE))
    if no_type:
        return _unknown_type(**no_type.groupdict())
    if lacking and _of_ours(lacking['owner']):
        return f'{lacking["owner"]} needs the option {lacking["options"]}: set it'
    if unknown is None:
        return None
    called = _of_ours(unknown['owner'] or unknown['call'])
    if called is None or not unknown['owner'] or unknown['call'] == '__init__':
        return called and has_no_option(called, unknown['option'])
    # constructors of other names; a method that is called wrongly is a bug
    method = getattr(called, unknown['call'], None)
    return has_no_option(method, unknown['option'], called.__name__) if inspect.ismethod(method) else None


def _of_ours(name: str) -> Any | None:
    """A class or function of this package by its name, or a class of OpenMMLab that one of ours is made from."""
    ours = [module for path, module in sys.modules.items() if path.partition('.')[0] == _NAME]
    for known in [known for module in ours for known in vars(module).values() if _home(known) == _NAME]:
        for kind in getattr(known, '__mro__', [known]):
            if getattr(kind, '__name__', '') == name and _home(kind) in (_NAME, 'mmengine', 'mmcv', 'mmseg', 'mmdet'):
                return kind
    return None


def _home(known: Any) -> str:
    return str(getattr(known, '__module__', '')).partition('.')[0]


def _unknown_type(kind: str, registry: str) -> str:
    """The sentence about a ``type`` that MMEngine's builder did not find."""
    import mmengine.registry

    known: set[str] = set()
    for root in vars(mmengine.registry).values():
        if not isinstance(root, mmengine.registry.Registry) or root.name != registry:
            continue
        known.update(root.module_dict)
        for scope, child in root.children.items():
            if kind in child.module_dict:
                return (
                    f'the type {kind!r} is one of {scope}, which the config does not name: set '
                    f'default_scope = {scope!r}, or write {f"{scope}.{kind}"!r}'
                )
            known.update(child.module_dict)
    near = difflib.get_close_matches(kind.rpartition('.')[2], sorted(known), n=1)
    mend = 'correct it, or name the module of a class of your own in custom_imports'
    return f'there is no type {kind!r} in the registry {registry!r}; ' + (
        f'did you mean {near[0]!r}?' if near else mend
    )


@contextmanager
def told_in_a_sentence(prog: str, folder: str | None = None) -> Iterator[None]:
    """Ends the program with ``PROG: SENTENCE`` and status 2 where bad input was named inside.

    MMEngine's registries put an error into another one that names the class they were building; the inner one
    counts there. One that we raise from another, on purpose, counts as it is.

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
        named: UserError | str | None = _innermost(error)
        if named is None and isinstance(error, OSError):
            named = why_not_written(error, error.filename or folder)
        if named is None:
            raise
        from diff2in1_commands import as_called  # the other way round nothing is imported

        print(as_called(f'{prog}: {_as_raised(str(named))}'), file=sys.stderr)
        raise SystemExit(2) from error


def _as_raised(text: str) -> str:
    """The sentence of an error of a data loader's worker, around which torch puts the whole traceback."""
    if not (text.startswith('Caught ') and '\nOriginal Traceback' in text):
        return text
    return text.rstrip().rpartition('\n')[2].partition(': ')[2]


def _innermost(error: BaseException | None) -> UserError | None:
    """The innermost :class:`UserError` of a chain of causes, but for those that were raised from it on purpose.

    An error that was being handled counts as a cause where its words were repeated, as MMEngine's registries do.
    """
    found = None
    while error is not None:
        if isinstance(error, UserError):
            found = error
            if error.__suppress_context__:  # raised `from` something
                return found
        handled = error.__context__
        repeated = handled is not None and str(handled) and str(handled) in str(error)
        error = error.__cause__ or (handled if repeated else None)
    return found
