"""Which shares of a job array are in a store: whether they began and were finished, so that a missing one is noticed.

``shares/I-of-N.json`` is written by the job that makes share I of N, when it begins and when it is done.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..utils.atomic_files import write_atomic

__all__ = ['forget_shares', 'missing_shares', 'note_share', 'shares_of']

_FOLDER = 'shares'
_NAME = re.compile(r'(\d+)-of-(\d+)\.json')


def note_share(root: str | Path, share: int, of: int, done: bool) -> None:
    """Notes that a share was begun, or is done.

    Args:
        root: The store's folder; made where it is missing.
        share: Its number, from 0.
        of: How many there are.
        done: Whether all its samples are there.
    """
    write_atomic(Path(root) / _FOLDER / f'{share}-of-{of}.json', json.dumps(dict(done=done)).encode())


def shares_of(root: str | Path) -> dict[tuple[int, int], bool]:
    """(share, how many there are) -> whether it is done, of all that were begun in a store."""
    found = {}
    for path in (Path(root) / _FOLDER).glob('*-of-*.json'):
        name = _NAME.fullmatch(path.name)
        if name:
            try:
                found[int(name[1]), int(name[2])] = bool(json.loads(path.read_bytes())['done'])
            except (OSError, ValueError, KeyError, TypeError):  # damaged: it is made again at no cost
                found[int(name[1]), int(name[2])] = False
    return found


def missing_shares(roots: Iterable[str | Path]) -> tuple[list[int], int]:
    """What stores lack together of one job array; where they are of several, of the one of which they lack least.

    Args:
        roots: Folders of stores.

    Returns:
        tuple[list[int], int]: Shares that are not there or not finished, and how many there are; none where no store
        was made in shares.
    """
    done: dict[int, set[int]] = defaultdict(set)
    for root in roots:
        for (share, of), finished in shares_of(root).items():
            done[of].update([share] if finished else [])
    lacking = [([share for share in range(of) if share not in there], of) for of, there in done.items()]
    return min(lacking, key=lambda found: len(found[0]), default=([], 0))


def forget_shares(root: str | Path) -> None:
    """Removes all notes, of a folder that becomes another store."""
    for path in (Path(root) / _FOLDER).glob('*.json'):
        path.unlink(missing_ok=True)
