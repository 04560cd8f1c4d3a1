"""Faults that this package names are told in one sentence; all others keep their traceback."""
import os.path as osp
import sys
import traceback
from contextlib import contextmanager
from typing import Iterator, Optional

_PACKAGE = osp.dirname(osp.abspath(__file__))
_FOLDERS = tuple(osp.join(folder, '') for folder in (
    _PACKAGE, osp.join(osp.dirname(_PACKAGE), 'tools'), osp.join(osp.dirname(_PACKAGE), 'demo')))


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough to be part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip('. ')


@contextmanager
def told_in_a_sentence(prog: str) -> Iterator[None]:
    """Ends the program with ``PROG: SENTENCE`` and status 2 where bad input was named inside.

    MMEngine's registries put an error into another one that names the class they were building;
    the innermost counts.

    Args:
        prog (str): How the program is called.

    Raises:
        SystemExit: A module of ours raised an ``OSError``, ``ImportError`` or ``ValueError``.
    """
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        named = _named_by_us(error)
        if named is None:
            raise
        print(f'{prog}: {named}', file=sys.stderr)
        raise SystemExit(2) from error


def _named_by_us(error: Optional[BaseException]) -> Optional[BaseException]:
    """The innermost error of a chain that was raised on purpose in a file of ours."""
    found = None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if (frames and frames[-1].filename.startswith(_FOLDERS)
                and (frames[-1].line or '').startswith('raise ')):
            found = error
        error = error.__cause__ or (error.__context__ if _passes_on(frames) else None)
    return found


def _passes_on(frames: traceback.StackSummary) -> bool:
    """Whether MMEngine raised an error anew, with the name of what it was building."""
    return bool(frames) and f'{osp.sep}mmengine{osp.sep}registry{osp.sep}' in frames[-1].filename
