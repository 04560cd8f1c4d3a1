"""Checks of numbers in configs, and evenly spread samples of a range."""

import math
from collections.abc import Collection
from numbers import Real
from typing import Any

import numpy as np

from .errors import UserError


def is_whole(value: Any, least: float = -math.inf) -> bool:
    """Whether a value of a config is a whole number of at least ``least``; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether a value of a config is a finite number within these bounds; a bool is none."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return number and least <= value <= most


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raises ValueError unless an option is a whole number of at least ``least``."""
    if not is_whole(value, least):
        raise UserError(f'{name} = {value!r} must be a whole number of at least {least}')


def check_choice(name: str, value: Any, choices: Collection) -> None:
    """Raises ValueError unless an option has one of these values."""
    if value not in choices:
        raise UserError(f'{name} must be one of {tuple(choices)}, not {value!r}')


def spread_over(total: int, number: int) -> list[int]:
    """Places in ``range(total)``: so many, evenly spread, the first and the last among them; all if there are fewer."""
    return np.unique(np.linspace(0, total - 1, min(total, number)).round().astype(int)).tolist()
