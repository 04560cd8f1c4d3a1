"""What became of every key of a converted checkpoint."""

import json
from collections import Counter
from collections.abc import Iterable

from ..utils.errors import some
from .converted import Converted


def report(source: str, files: Iterable[str], converted: Converted) -> dict:
    """Everything, as JSON writes it.

    Args:
        source (str): What the files are.
        files (Iterable[str]): Their names.
        converted (Converted): After it was written.

    Returns:
        dict: ``used`` (names), ``unused`` and ``missing`` (name -> reason), ``notes``.
    """
    return dict(
        source=source,
        files=list(files),
        used=converted.keys.used,
        unused=converted.keys.unused,
        missing=converted.missing,
        notes=converted.notes,
    )


def summary(content: dict) -> str:
    """A report as lines for a terminal: counts, beginnings of the used names, all reasons.

    Args:
        content (dict): Of :func:`report`.

    Returns:
        str: Without a line break at the end.
    """
    beginnings = Counter('.'.join(key.split('.')[:2]) for key in content['used'])
    used = ', '.join(f'{count} {name}' for name, count in beginnings.most_common())
    lines = [
        f'{content["source"]}, from {" and ".join(content["files"])}',
        f'used: {len(content["used"])} keys ({used})',
    ]
    for what in ('unused', 'missing'):
        lines.append(f'{what}: {len(content[what])} {"keys" if what == "unused" else "of ours"}')
        lines += [f'  {reason}: {some(names, 6)}' for reason, names in _by_reason(content[what])]
    return '\n'.join(lines + [f'note: {note}' for note in content['notes']])


def _by_reason(reasons: dict[str, str]):
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    return found.items()


def dump(content: dict) -> bytes:
    """The file ``report.json``."""
    return (json.dumps(content, indent=1) + '\n').encode()
