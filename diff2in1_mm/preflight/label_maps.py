"""Label maps: values outside the classes, several channels, and maps in which there is nothing to learn."""

import copy
import os.path as osp
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from ..datasets.readable import file_exists, load_or_skip, replaces_unreadable
from ..datasets.source_images import map_loader, transforms_of
from ..datasets.wrappers import distinct_sources, resolve
from ..utils.errors import MissingFileError, UserError
from ..utils.values import spread_over
from .findings import Findings, shortened
from .image_headers import read_header

_NAMED_AT_MOST = 10
_MOST = 2000  # maps read before a data set of one class is refused
_MUCH = 0.5  # share of ignored pixels that is told


def check_labels(
    dataset: Any,
    num_samples: int = 8,
    ignored: Mapping[str, int] | None = None,
    findings: Findings | None = None,
    learned: bool = True,
) -> int:
    """Reads a few annotation maps as training will, and looks for labels outside the classes.

    Args:
        dataset: Built data set, wrapped or not.
        num_samples: How many maps, spread evenly over the data set; all of them if fewer. Where these show one class
            only, up to 2,000.
        ignored: The label that each reader of the maps ignores, by the name of its option, such as
            ``{'model.decode_head.ignore_index': 255}``; a label outside the classes is right where
            all of them ignore it. None or empty: the data set's own ``ignore_index``, which
            MMSegmentation only keeps.
        findings: What refuses and warns. Default: all checks.
        learned: Whether the maps are trained on. Then a single class in all of them is refused, else told.

    Returns:
        Number of maps read. Not read are those of a data set without segmentation maps, or with a
        loader for them that is no ``LoadAnnotations``, and files that cannot be read, where the
        data set will name them and go on.

    Raises:
        FileNotFoundError: The data set is empty, or a map is missing.
        ValueError: Names a file and the values that are neither a class nor ignored, its shape if it has
            several channels, or one that cannot be read; or there is nothing to learn.
    """
    if not len(dataset):
        raise MissingFileError(
            f'{type(dataset).__name__} holds no samples: check its `data_root`, `data_prefix` and `ann_file`.'
        )
    try:
        sources = distinct_sources(dataset)
    except TypeError:  # no data set of MMEngine's: nothing is known of its labels
        return 0
    look = _Look(ignored, findings or Findings(), replaces_unreadable(dataset))
    for number in (num_samples, _MOST):
        for place in spread_over(len(sources), number):
            look.at(*resolve(dataset, sources[place])[1:])
        if not look.single_class():
            break
    look.tell(len(sources), learned)
    return len(look.read)


class _Look:
    """Label maps that were looked at, and what they showed.

    Args:
        ignored: See :func:`check_labels`.
        findings: What refuses and warns.
        skip: Whether files that cannot be read are left to the training.

    Attributes:
        read: Maps by data set and index.
    """

    def __init__(self, ignored: Mapping[str, int] | None, findings: Findings, skip: bool) -> None:
        self._ignored, self._findings, self._skip = ignored, findings, skip
        self.read: set[tuple[int, int]] = set()
        self._kinds: set[str] = set()
        self._pixels: Counter = Counter()  # of each label, ignored ones as None
        self._classes: tuple[str, ...] = ()
        self._path, self._changed = '', ''

    def at(self, base: BaseDataset, index: int) -> None:
        """Looks at one map, once."""
        if (id(base), index) in self.read:
            return
        info = base.get_data_info(index)
        path, classes = info.get('seg_map_path'), base.metainfo.get('classes')
        if path is None or not classes or 'reduce_zero_label' not in info:
            return
        if not file_exists(path, base):
            raise MissingFileError(
                f'the annotation {path} of {info["img_path"]} does not exist: correct `data_prefix` or '
                '`seg_map_suffix`.'
            )
        loaded = _load_map(base, info, self._skip)
        if loaded is None:
            return
        self._check_file(path, loaded)
        self._path, self._classes = path, tuple(classes)
        self._kinds.add(type(base).__name__)
        self._changed = (
            ' (after reduce_zero_label or label_map)' if info['reduce_zero_label'] or info.get('label_map') else ''
        )
        self._count(base, loaded)
        self.read.add((id(base), index))

    def _check_file(self, path: str, loaded: np.ndarray) -> None:
        """Several channels, and values that the loader's cast to 8 bits makes other classes of."""
        if loaded.ndim > 2:  # sides of length 1 are dropped
            self._findings.refuse(
                'map_values',
                f'{path} is loaded with the shape {loaded.shape}, but a label map has one channel of class indices: '
                'save its first channel where all are the same, or convert colours to indices once',
            )
        header = read_header(path) if osp.isfile(path) else None
        if header is not None and header.deep:
            with Image.open(path) as picture:
                values = np.unique(np.asarray(picture))
            lost = values[(values < 0) | (values > 255) | (values != values.round())]
            if len(lost):
                self._findings.refuse(
                    'map_values',
                    f'{path} holds the values {_listed(lost.tolist())}, which are cut to 8 bits when it is loaded, '
                    'and become other classes: write the map with class indices from 0 to 255',
                )

    def _count(self, base: BaseDataset, loaded: np.ndarray) -> None:
        ignored = self._ignored or {"the data set's `ignore_index`": getattr(base, 'ignore_index', 255)}
        by_all = len(set(ignored.values())) == 1
        found, counts = np.unique(loaded, return_counts=True)
        values = found.astype(int)
        wrong = values >= len(self._classes)
        if by_all:
            wrong &= values != next(iter(ignored.values()))
        if wrong.any():
            ignoring = ' and '.join(f'{label} by {name}' for name, label in ignored.items())
            raise UserError(
                f'{self._path} holds the label values {_listed(values[wrong].tolist())}{self._changed}, '
                f'but {type(base).__name__} has the classes 0 to {len(self._classes) - 1}, and ignored is '
                f"{ignoring}{'' if by_all else ', which differ'}: correct the file, the data set's "
                '`metainfo` or `reduce_zero_label`, or what is ignored.'
            )
        for value, count in zip(values.tolist(), counts.tolist()):
            self._pixels[None if value in ignored.values() else value] += count

    def single_class(self) -> bool:
        """Whether there are several classes and at most one of them was seen."""
        return len(self._classes) > 1 and len(self._pixels.keys() - {None}) < 2 and bool(self.read)

    def tell(self, total: int, learned: bool) -> None:
        """What the maps showed together; ``total`` images are in the data set."""
        if not self.read or len(self._classes) < 2:
            return
        unseen = [name for i, name in enumerate(self._classes) if i not in self._pixels]
        share = self._pixels[None] / max(sum(self._pixels.values()), 1)
        sentence = (
            f'none of {len(self.read)} label maps of {" and ".join(sorted(self._kinds))}{self._changed} has the class '
            f'{shortened(unseen)}, and {share:.0%} of their pixels are ignored (such as {self._path})'
        )
        mend = 'check the values in the files, `reduce_zero_label`, `label_map` and what is ignored'
        if self.single_class() and learned:
            self._findings.refuse('seen_classes', f'{sentence}: there is nothing to tell apart; {mend}')
        elif unseen and len(self.read) == total:
            self._findings.warn('seen_classes', f'{sentence}: if that is not meant, {mend}.')
        elif share > _MUCH:
            self._findings.warn(
                'seen_classes',
                f'{share:.0%} of the pixels of {len(self.read)} label maps are ignored (such as {self._path}): if that '
                f'is not meant, {mend}.',
            )


def _listed(values: list) -> str:
    return str(values[:_NAMED_AT_MOST])[1:-1] + (', ...' if len(values) > _NAMED_AT_MOST else '')


def _load_map(base: BaseDataset, info: dict, skip: bool) -> np.ndarray | None:
    """Labels (H, W) as training sees them; None where only training itself can tell."""
    loader = copy.deepcopy(map_loader(transforms_of(base)))
    if loader is None:
        return None
    try:
        loaded = load_or_skip(loader, info, dict(seg_map_path=info['seg_map_path']), base, skip)
    except KeyError:
        # a loader of one's own may want what the transforms before it add
        if type(loader).__name__ == 'LoadAnnotations':
            raise
        return None
    return None if loaded is None else loaded.get('gt_seg_map')
