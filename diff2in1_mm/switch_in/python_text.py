"""Python source of settings."""

from collections.abc import Mapping
from typing import Any

__all__ = ['arguments', 'as_dict', 'floats', 'part', 'replacing']


def part(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a config, empty where it is missing or None."""
    return settings.get(key) or {}


def as_dict(**settings: Any) -> str:
    """Source of a ``dict(...)`` on one line."""
    return f'dict({", ".join(f"{key}={value!r}" for key, value in settings.items())})'


def replacing(base: Mapping[str, Any], key: str, **settings: Any) -> str:
    """Source of a ``dict(...)`` for ``key`` that changes the base's, or replaces its None."""
    if key in base and not isinstance(base[key], dict):
        settings = dict(_delete_=True, **settings)
    return as_dict(**settings)


def arguments(lines: list[str], indent: int) -> str:
    """Source of arguments, one below the other; comments among them."""
    ends = [line if line.startswith('#') else f'{line},' for line in lines[:-1]]
    return '\n'.join(' ' * indent + line for line in [*ends, lines[-1]])


def floats(values: Any) -> list[float]:
    """One number or several, as a list that a preprocessor's mean and std can be."""
    return [float(value) for value in (values if hasattr(values, '__iter__') else [values])]
