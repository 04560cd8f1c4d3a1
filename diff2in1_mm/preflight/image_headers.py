"""What the headers of all pictures of a data set say: sizes of label maps, and photographs turned by EXIF."""

import json
import os
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dataset import BaseDataset
from PIL import Image
from tqdm import tqdm

from ..datasets.source_images import turns_images
from ..datasets.wrappers import base_datasets
from ..utils.atomic_files import write_atomic
from .findings import Findings

__all__ = ['Header', 'HeaderIndex', 'check_headers', 'read_header']

_ORIENTATION = 0x0112  # tag of EXIF; 1 lies as it is, 2 to 4 keep the sides, 5 to 8 exchange them
_WORTH_A_BAR = 2000  # files


class Header(NamedTuple):
    """A picture file without its pixels.

    Attributes:
        size: (width, height) as the pixels lie in the file.
        orientation: EXIF's, 1 to 8; 1 where there is none.
        mode: PIL's name of depth and channels, such as 'L', 'RGB' or 'I;16'.
    """

    size: tuple[int, int]
    orientation: int
    mode: str

    def shown(self, turns: bool) -> tuple[int, int]:
        """(width, height) as a loader gives it that applies the orientation, or does not."""
        return self.size[::-1] if turns and self.orientation > 4 else self.size

    def hides_turn(self, turns: bool) -> bool:
        """Whether a loader turns or mirrors the picture without another size showing it."""
        return turns and self.orientation != 1 and self.shown(True) == self.size


def read_header(path: str) -> Header | None:
    """The header of a picture on the disk; None of what PIL does not read, which shows on loading."""
    try:
        with Image.open(path) as picture:
            # of a PNG without this chunk PIL would decode all pixels to look behind them
            told = picture.format != 'PNG' or 'exif' in picture.info
            orientation = picture.getexif().get(_ORIENTATION, 1) if told else 1
            return Header(picture.size, orientation if orientation in range(1, 9) else 1, picture.mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


class HeaderIndex:
    """Headers that were read before, kept in a file: a second start reads those of new and changed pictures only.

    Args:
        path (str | None): Of the JSON file; a damaged one is begun anew. None: nothing is kept.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path, self._changed = path, False
        self._known: dict[str, tuple[list[int], Header | None]] = {}
        if path is not None and osp.isfile(path):
            with suppress(OSError, ValueError, TypeError, KeyError):
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


def check_headers(dataset: Any, findings: Findings, index: HeaderIndex | None = None) -> None:
    """Looks at the headers of all pictures of a data set, and of their label maps.

    Args:
        dataset: Built data set, wrapped or not.
        findings (Findings): What refuses and warns.
        index (HeaderIndex | None): What was read before. None: nothing.

    Raises:
        ValueError: Label maps of another size than their images; how many, and the first.
    """
    index = index or HeaderIndex()
    for base in base_datasets(dataset):
        base.full_init()
        turns = turns_images(base)
        entries = [base.get_data_info(i) for i in range(len(base))]
        images = index.read([entry.get('img_path') for entry in entries])
        maps = index.read([entry.get('seg_map_path') if 'segments_info' not in entry else None for entry in entries])
        index.save()
        _check_map_sizes(base, entries, images, maps, turns, findings)
        _check_turned(base, entries, images, turns, findings)


def _check_map_sizes(
    base: BaseDataset,
    entries: list[dict],
    images: list[Header | None],
    maps: list[Header | None],
    turns: bool,
    findings: Findings,
) -> None:
    """Training goes on with stretched maps where a transform resizes both to one size, and validation fails."""
    pairs = [(e, i, m) for e, i, m in zip(entries, images, maps) if i is not None and m is not None]
    wrong = [(e, i, m) for e, i, m in pairs if i.shown(turns) != m.size]
    if not wrong:
        return
    entry, image, found = wrong[0]
    cause = 'make each map as large as its image'
    if found.size == image.size:
        cause = (
            "the photograph is turned by its EXIF tag and the map is not: set LoadImageFromFile's "
            "color_type='color_ignore_orientation', or turn the maps"
        )
    (width, height), (map_width, map_height) = image.shown(turns), found.size
    findings.refuse(
        'map_sizes',
        f'{len(wrong)} of {len(pairs)} label maps of {type(base).__name__} have another size than their image, the '
        f'first is {entry["seg_map_path"]} with {map_width} x {map_height} pixels for {entry["img_path"]} with '
        f'{width} x {height}: {cause}',
    )


def _check_turned(
    base: BaseDataset, entries: list[dict], images: list[Header | None], turns: bool, findings: Findings
) -> None:
    """Square photographs, and those upside down: no size tells whether labels lie as the file or as it is shown."""
    turned = [e['img_path'] for e, image in zip(entries, images) if image is not None and image.hides_turn(turns)]
    if turned:
        findings.warn(
            'turned_images',
            f'{len(turned)} of {len(entries)} images of {type(base).__name__} are turned by their EXIF tag when they '
            f'are loaded, the first is {turned[0]}, and their size does not tell whether labels were drawn on the '
            "turned image: if they were drawn on the pixels as they lie in the file, set LoadImageFromFile's "
            "color_type='color_ignore_orientation'.",
        )
