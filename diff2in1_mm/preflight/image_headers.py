"""Headers of picture files, read fast and once."""

import json
import os
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image
from tqdm import tqdm

from ..utils.atomic_files import write_atomic

__all__ = ['Header', 'HeaderIndex', 'read_header']

_ORIENTATION = 0x0112  # tag of EXIF; 1 lies as it is, 2 to 4 keep the sides, 5 to 8 exchange them
_WORTH_A_BAR = 2000  # files
_TAIL = 16  # bytes


class Header(NamedTuple):
    """A picture file without its pixels.

    Attributes:
        size: (width, height) as the pixels lie in the file.
        orientation: EXIF's, 1 to 8; 1 where there is none.
        deep: Whether pixels have more than 8 bits.
        whole: Whether the file ends where its pixels do; told for PNG and JPEG.
    """

    size: tuple[int, int]
    orientation: int
    deep: bool
    whole: bool

    def shown(self, turns: bool) -> tuple[int, int]:
        """(width, height) as a loader gives it that applies the orientation, or does not."""
        return self.size[::-1] if turns and self.orientation > 4 else self.size

    def hides_turn(self, turns: bool) -> bool:
        """Whether a loader turns or mirrors the picture without another size showing it."""
        return turns and self.orientation != 1 and self.shown(True) == self.size


def read_header(path: str) -> Header | None:
    """The header of a picture on the disk; None of what PIL does not read, which shows on loading."""
    try:
        with open(path, 'rb') as file, Image.open(file) as picture:
            # of a PNG without this chunk PIL would decode all pixels to look behind them
            told = picture.format != 'PNG' or 'exif' in picture.info
            orientation = picture.getexif().get(_ORIENTATION, 1) if told else 1
            orientation = orientation if orientation in range(1, 9) else 1
            deep = picture.mode.startswith(('I', 'F')) or ';16' in str(picture.tile)
            return Header(picture.size, orientation, deep, _is_whole(file, picture.format))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _is_whole(file: BinaryIO, format: str) -> bool:
    """Whether the end mark is there; where it is not, or something follows it, the pixels are decoded."""
    mark = {'PNG': b'IEND', 'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9'}.get(format)
    file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
    if mark is None or mark in file.read():
        return True
    try:
        file.seek(0)
        with Image.open(file) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


class HeaderIndex:
    """Headers that were read before, kept in a file: a second start reads those of new and changed pictures only.

    Args:
        path (str | None): Of the JSON file; a damaged one is begun anew. None: nothing is kept.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path, self._changed = path, False
        self._known: dict[str, tuple[list[int] | None, Header | None]] = {}
        if path is not None and osp.isfile(path):
            with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
                content = json.loads(Path(path).read_bytes())
                self._known = {
                    name: (stamp, header and Header(tuple(header[0]), *header[1:]))
                    for name, (stamp, header) in content.items()
                }

    def read(self, paths: Sequence[Any]) -> list[Header | None]:
        """The headers of pictures on the disk; None for what is no path, or cannot be read."""
        stamps = {path: _stamp(path) for path in paths if isinstance(path, str)}
        new = [p for p, stamp in stamps.items() if stamp and (p not in self._known or self._known[p][0] != stamp)]
        with ThreadPoolExecutor(8) as pool:  # waiting for the disk, most of it
            coming = pool.map(read_header, new)
            bar = tqdm(coming, 'Reading headers', len(new), leave=False, disable=len(new) < _WORTH_A_BAR or None)
            self._known.update((path, (stamps[path], header)) for path, header in zip(new, bar))
        self._changed |= bool(new)
        return [self._known[path][1] if stamps.get(path) else None for path in paths]

    def save(self) -> None:
        """Writes the file where anything is new."""
        if self._changed and self._path is not None:
            write_atomic(self._path, json.dumps(self._known).encode())
            self._changed = False


def _stamp(path: str) -> list[int] | None:
    """What changes with a file; None of one that is not on this machine."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
