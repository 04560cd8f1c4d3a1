"""What a store was made for: ``store.json``, and whether a folder may serve that."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..utils.atomic_files import is_leftover, write_atomic
from ..utils.errors import MissingFileError, UserError

__all__ = ['StoreMismatch', 'begin_or_continue', 'check_tasks_and_classes', 'read_purpose', 'refuse_other_content']

_FILE = 'store.json'
#: Version 1 held one kind of label, in files right under ``annotations/``; version 2 all files of a kind in one folder,
#: and a file for each record. Such stores are read, and continued as they are.
VERSION = 3
_KEYS = {'tasks', 'classes', 'fingerprint', 'settings'}


class StoreMismatch(UserError):
    """The folder is a store made for something else, or no store; the message says what to do."""


def read_purpose(root: Path) -> dict[str, Any]:
    """What a store was made for, without a look at its samples.

    Returns:
        dict: ``version``, ``tasks``, ``classes``, ``fingerprint`` and ``settings``.

    Raises:
        FileNotFoundError: No store there.
        StoreMismatch: Of a later version, or damaged.
    """
    path = root / _FILE
    if not path.is_file():
        raise MissingFileError(
            f'{root} is not a synthetic store (it has no {_FILE}): make one '
            'with tools/create_data.py, or correct the path.'
        )
    try:
        purpose = json.loads(path.read_bytes())
        version = purpose['version']
        if version == 1:
            purpose['tasks'] = [purpose.pop('task')]
        complete = set(purpose) >= _KEYS and _is_usable(purpose)
    except (ValueError, KeyError, TypeError):
        version, complete = VERSION, False
    if version not in range(1, VERSION + 1):
        raise StoreMismatch(
            f'{root} has store format {version}, and this version reads 1 to {VERSION}: '
            'use the version of diff2in1_mm that wrote it.'
        )
    if not complete:
        raise StoreMismatch(f'{path} is damaged: restore it, or remove the folder and create anew.')
    return purpose


def _is_usable(purpose: dict[str, Any]) -> bool:
    kinds = dict(tasks=list, classes=list, fingerprint=str, settings=dict)
    names = [*purpose['tasks'], *purpose['classes']]
    return all(isinstance(purpose[key], kind) for key, kind in kinds.items()) and all(isinstance(n, str) for n in names)


def begin_or_continue(root: Path, purpose: dict[str, Any], holds_samples: bool) -> bool:
    """Write ``store.json``, unless the folder has one for the same. Needs the lock.

    Args:
        root: The store's folder.
        purpose: See :func:`read_purpose`, but for the version.
        holds_samples: Whether there are any.

    Returns:
        bool: Whether the store goes on; False where it begins.

    Raises:
        StoreMismatch: It holds samples that were made otherwise.
    """
    path = root / _FILE
    if path.exists():
        found = read_purpose(root)
        # `tasks` and `classes` decide what files mean, whatever the caller put into the fingerprint.
        goes_on = all(found[key] == purpose[key] for key in ('fingerprint', 'tasks', 'classes'))
        if goes_on:
            return True
        if holds_samples and not goes_on:
            raise StoreMismatch(
                f'{root} already holds samples made otherwise ({_difference(found, purpose)}): '
                'give another folder, or remove this one.'
            )
    write_atomic(path, (json.dumps(dict(version=VERSION, **purpose), indent=1) + '\n').encode())
    return False


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Names the settings that differ, at most three."""
    names = sorted({*found['settings'], *wanted['settings']})
    pairs = [(key, found[key], wanted[key]) for key in ('tasks', 'classes')]
    # Through JSON, so that a tuple equals the list that it was written as.
    settings = json.loads(json.dumps(wanted['settings']))
    pairs += [(name, found['settings'].get(name), settings.get(name)) for name in names]
    differing = [f'{name}: there {_short(a)}, here {_short(b)}' for name, a, b in pairs if a != b]
    return '; '.join(differing[:3]) or 'the fingerprint differs'


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def refuse_other_content(root: Path) -> None:
    """Raises StoreMismatch for a folder with files that are no store's."""
    if (root / _FILE).exists():
        return
    content = sorted(path.name for path in root.iterdir() if path.name != '.lock' and not is_leftover(path.name))
    # Another process may have begun the store since; it writes store.json before the folders.
    if content and not (root / _FILE).exists():
        raise StoreMismatch(
            f'{root} is not a synthetic store but holds other files '
            f'({_short(", ".join(content))}): give a new or empty folder.'
        )


def check_tasks_and_classes(
    root: Path, purpose: dict[str, Any], tasks: Sequence[str] | None, classes: Sequence[str] | None
) -> None:
    """Raises StoreMismatch where a reader expects other kinds of labels or other classes; None: not checked."""
    found = tuple(purpose['tasks'])
    if tasks is not None and sorted(tasks) != sorted(found):
        raise StoreMismatch(
            f'the store {root} holds samples for {", ".join(found)}, but {", ".join(tasks)} is wanted: '
            'give another store.'
        )
    found = tuple(purpose['classes'])
    if classes is not None and tuple(classes) != found:
        raise StoreMismatch(
            f'the store {root} was made for the classes {_short(list(found))} '
            f'({len(found)}), but the data set has {_short(list(classes))} '
            f'({len(classes)}): give the store made for this data set, or create a new one.'
        )
