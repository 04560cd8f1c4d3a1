"""JSON files that the package wrote, and finds again on a disk that others write to as well."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UnusableFileError

__all__ = ['read_json']


def read_json(path: str | Path, fits: Callable[[Any], bool], mend: str) -> Any:
    """The content of a file, looked at before it is believed.

    Args:
        path (str | Path): Of the file.
        fits (Callable): Whether the content is of the kind that was written; what it raises of KeyError, TypeError,
            ValueError and AttributeError means no.
        mend (str): What to do about a file that is damaged, the end of the sentence.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read as such JSON.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8-sig'))
        if fits(content):
            return content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise UnusableFileError(f'{path} is damaged: {mend}')
