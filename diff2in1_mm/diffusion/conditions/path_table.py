"""What is said of images, by the ends of their paths."""

import os.path as osp
from collections.abc import Iterable
from typing import Any

from ...utils.errors import UserError

#: What image files may end in, in lower case.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.webp', '.tif', '.tiff')


class PathTable:
    """Values of images, under names that may carry folders and suffixes.

    An entry belongs to the images whose paths end in its name: ``0001`` and ``0001.png`` to every
    image of that name, ``cat/0001.png`` to those in a folder ``cat``. Of several the one with the
    most folders counts, then the one with the image's own suffix. A path that is shorter than a
    name is compared with it as far as it goes.

    Args:
        source (str): Where the entries are from, for messages.
        entries (Iterable[tuple[str, Any]]): Names, with '/' between folders, and values, which can
            be compared.
    """

    def __init__(self, source: str, entries: Iterable[tuple[str, Any]]) -> None:
        self.source = source
        self._entries: dict[str, list] = {}
        for name, value in entries:
            *folders, file = _parts(name)
            self._entries.setdefault(_bare(file), []).append((folders, file, name, value))

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def find(self, path: str) -> Any | None:
        """The value of an image.

        Args:
            path (str): Of its file.

        Returns:
            Any: What its entry says; None where there is no entry.

        Raises:
            ValueError: Entries with different values fit it equally well.
        """
        *folders, file = _parts(path)
        best: tuple[int, bool, bool] = (-1, False, False)
        found: list[tuple] = []
        for entry in self._entries.get(_bare(file), []):
            common = min(len(folders), len(entry[0]))
            if folders[len(folders) - common :] != entry[0][len(entry[0]) - common :]:
                continue
            whole = common == len(entry[0])
            rank = (common, whole, whole and entry[1] == file)
            if rank > best:
                best, found = rank, []
            if rank == best:
                found.append(entry)
        if any(entry[3] != found[0][3] for entry in found):
            other = next(entry for entry in found if entry[3] != found[0][3])
            raise UserError(
                f'{self.source} says different things of {path!r} (under {found[0][2]!r} and {other[2]!r}): keep one '
                'of them, or begin the names with the folders that tell the images apart'
            )
        return found[0][3] if found else None


def _parts(path: str) -> list:
    return [part for part in osp.normpath(path).split('/') if part not in ('', '.', '..')] or ['']


def _bare(file: str) -> str:
    """Without the suffix of an image; 'frame_0.5' has none."""
    stem, suffix = osp.splitext(file)
    return stem if suffix.lower() in IMAGE_SUFFIXES else file
