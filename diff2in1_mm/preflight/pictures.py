"""All picture files of a data set: missing or damaged ones, sizes of label maps, EXIF, and depth."""

import copy
import os
import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import LocalBackend, get_file_backend

from ..datasets.readable import FILE_KEYS, load_or_skip, replaces_unreadable
from ..datasets.source_images import map_loader, transforms_of, turns_images
from ..datasets.wrappers import base_datasets
from ..utils.errors import MissingFileError
from ..utils.values import spread_over
from .findings import Findings
from .image_headers import Header, HeaderIndex

__all__ = ['check_pictures']

_MANY = 0.5  # share of missing images that is refused though the training would go on without them
_TRIED = 64  # files that PIL cannot read; a loader of one's own may read all of their kind
_LOOKED_AT = 8  # deep images
_DARK = 63  # of 255: what 14 bits become where 16 are cut to 8


def check_pictures(dataset: Any, findings: Findings, index: HeaderIndex | None = None) -> None:
    """Looks for all files of a data set, and at the headers of its pictures and label maps.

    Args:
        dataset: Built data set, wrapped or not.
        findings (Findings): What refuses and warns.
        index (HeaderIndex | None): What was read before. None: nothing.

    Raises:
        FileNotFoundError, ValueError: Files are missing or damaged, or label maps of another size than their images;
            how many, the first, and the likely cause.
    """
    index = index or HeaderIndex()
    for base in base_datasets(dataset):
        base.full_init()
        turns = turns_images(base)
        entries = [base.get_data_info(i) for i in range(len(base))]
        headers = {key: index.read([entry.get(key) for entry in entries]) for key in FILE_KEYS}
        index.save()
        for key, found in headers.items():
            files = _Files(base, entries, key, found)
            _check_missing(files, findings, replaces_unreadable(dataset))
            _check_damaged(files, findings, replaces_unreadable(dataset))
        images, maps = headers['img_path'], headers['seg_map_path']
        _check_depth(_Files(base, entries, 'img_path', images), findings)
        _check_map_sizes(base, entries, images, maps, turns, findings)
        _check_turned(base, entries, images, turns, findings)


class _Files(NamedTuple):
    """The files under one key of all annotation entries of a data set.

    Attributes:
        base: The data set, inside all wrappers.
        entries: Its annotation entries.
        key: Such as 'img_path'.
        headers: Of the files under that key.
    """

    base: BaseDataset
    entries: Sequence[dict]
    key: str
    headers: Sequence[Header | None]

    def counted(self, number: int) -> str:
        """The beginning of a sentence about some of them."""
        what = 'images' if self.key == 'img_path' else 'label maps'
        return f'{number} of {len(self.entries)} {what} of {type(self.base).__name__}'

    def without_header(self) -> list[dict]:
        """Entries whose file on this machine PIL does not read; none where files are elsewhere (``backend_args``)."""
        pairs = zip(self.entries, self.headers)
        bad = [entry for entry, header in pairs if header is None and isinstance(entry.get(self.key), str)]
        backend_args = getattr(self.base, 'backend_args', None)
        if bad and not isinstance(get_file_backend(bad[0][self.key], backend_args=backend_args), LocalBackend):
            return []
        return bad


def _check_missing(files: _Files, findings: Findings, replaced: bool) -> None:
    """A missing image ends a run where nothing replaces it, in a validation after the warm-up."""
    missing = [entry[files.key] for entry in files.without_header() if not osp.isfile(entry[files.key])]
    if not missing:
        return
    sentence = f'{files.counted(len(missing))} do not exist, the first is {missing[0]}'
    mend = _likely_cause(missing[0], files.base, files.key)
    if replaced and files.key == 'img_path' and len(missing) < _MANY * len(files.entries):
        findings.warn('missing_files', f'{sentence}: {mend}; until then others take their place.')
    else:
        findings.refuse('missing_files', f'{sentence}: {mend}', MissingFileError)


def _check_damaged(files: _Files, findings: Findings, replaced: bool) -> None:
    """Files that cannot be read, and those that end before their last pixel."""
    key = files.key
    cut = [entry for entry, header in zip(files.entries, files.headers) if header and not header.whole]
    doubtful = cut + [entry for entry in files.without_header() if osp.isfile(entry[key])]
    damaged = [entry[key] for entry in doubtful[:_TRIED] if not _loads(files.base, entry, key)]
    cut = [entry[key] for entry in cut if entry[key] not in damaged]
    if damaged:
        more = 'at least ' if len(doubtful) > _TRIED else ''
        sentence = f'{more}{files.counted(len(damaged))} cannot be read, the first is {damaged[0]}'
        mend = 'repair the files, or take them out of the data set'
        if replaced:
            findings.warn('damaged_files', f'{sentence}: {mend}; until then others take their place.')
        else:
            findings.refuse('damaged_files', f'{sentence}: {mend}')
    if cut:
        findings.warn(
            'damaged_files',
            f'{files.counted(len(cut))} end before their last pixel, and what lacks is filled with grey, the first is '
            f'{cut[0]}: copy these files again, or take them out of the data set.',
        )


def _loads(base: BaseDataset, entry: dict, key: str) -> bool:
    """Whether the data set's own loader reads a file that PIL does not."""
    transforms = transforms_of(base)
    loader = next(iter(transforms), None) if key == 'img_path' else map_loader(transforms)
    if loader is None:
        return True
    try:
        info = dict(copy.deepcopy(entry), seg_fields=[])
        return load_or_skip(copy.deepcopy(loader), info, {key: entry[key]}, base, True) is not None
    except Exception:  # a loader of one's own that wants more than the entry, which the training has
        return True


def _likely_cause(path: str, base: BaseDataset, key: str) -> str:
    """What leads to the file, looked for in the neighbourhood."""
    folder, name = osp.split(path)
    if '\\' in path and osp.sep != '\\':
        return "names of files have backslashes, as Windows writes them: write '/' in their place"
    stem = osp.splitext(name)[0].lower()
    alike = [found for found in _files(folder) if osp.splitext(found)[0].lower() == stem]
    if alike:
        return f'{alike[0]} lies there: correct the ending or the letter case of the names, or of the files'
    root = getattr(base, 'data_root', None) or ''
    parts = Path(osp.relpath(path, root) if root else path).parts
    for start in range(len(parts)):  # a folder too many, as where `data_prefix` and the names both have it
        for end in range(start + 1, len(parts)):
            found = osp.join(root, *parts[:start], *parts[end:])
            if osp.isfile(found):
                return f'{found} is there: correct `data_prefix[{_prefix_key(base, key)!r}]`, or the names of the files'
    return f'correct `data_root` or `data_prefix[{_prefix_key(base, key)!r}]`, or copy the files there'


def _files(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if osp.isdir(folder) else []


def _prefix_key(base: BaseDataset, key: str) -> str:
    """What the data set calls the folder: MMDetection's have other names for it."""
    prefixes = getattr(base, 'data_prefix', None) or {}
    other = {'img_path': 'img', 'seg_map_path': 'seg'}.get(key, key)
    return other if other in prefixes else key


def _check_depth(images: _Files, findings: Findings) -> None:
    """Images of 10 to 14 bits in files of 16, which MMCV's loader cuts to their upper 8, come out dark."""
    loader: Any = next(iter(transforms_of(images.base)), None)
    deep = [entry for entry, header in zip(images.entries, images.headers) if header is not None and header.deep]
    if not deep or type(loader).__name__ != 'LoadImageFromFile':
        return
    brightest = raw = 0
    places = spread_over(len(deep), _LOOKED_AT)
    for entry in (deep[place] for place in places):
        files = dict(img_path=entry['img_path'])
        loaded = load_or_skip(copy.deepcopy(loader), dict(entry), files, images.base, True)
        if loaded is not None and loaded['img'].dtype == np.uint8:
            brightest = max(brightest, int(loaded['img'].max()))
            raw = max(raw, int(mmcv.imread(entry['img_path'], flag='unchanged').max()))
    if brightest <= _DARK and raw > 255:
        findings.warn(
            'image_depth',
            f'{images.counted(len(deep))} have 16 bits, of which LoadImageFromFile keeps the upper 8: in {len(places)} '
            f'of them the brightest value is {brightest} of 255 (in the files {raw} of 65535, the first is '
            f'{deep[0]["img_path"]}), so that the model sees almost black: scale the images to 8 bits once.',
        )


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
