"""Bad data told in one sentence, before any long work."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from ..datasets.readable import file_exists, load_or_skip, replaces_unreadable
from ..datasets.source_images import map_loader, transforms_of
from ..datasets.wrappers import distinct_sources, resolve
from ..utils.errors import MissingFileError, UserError

_NAMED_AT_MOST = 10


def check_labels(dataset: Any, num_samples: int = 8, ignored: Mapping[str, int] | None = None) -> int:
    """Reads a few annotation maps as training will, and looks for labels outside the classes.

    Args:
        dataset: Built data set, wrapped or not.
        num_samples: How many maps, spread evenly over the data set; all of them if fewer.
        ignored: The label that each reader of the maps ignores, by the name of its option, such as
            ``{'model.decode_head.ignore_index': 255}``; a label outside the classes is right where
            all of them ignore it. None or empty: the data set's own ``ignore_index``, which
            MMSegmentation only keeps.

    Returns:
        Number of maps read. Not read are those of a data set without segmentation maps, or with a
        loader for them that is no ``LoadAnnotations``, and files that cannot be read, where the
        data set will name them and go on.

    Raises:
        FileNotFoundError: The data set is empty, or a map is missing.
        ValueError: Names a file and the values that are neither a class nor ignored, or one that
            cannot be read.
    """
    if not len(dataset):
        raise MissingFileError(
            f'{type(dataset).__name__} holds no samples: check its `data_root`, `data_prefix` and `ann_file`.'
        )
    try:
        sources = distinct_sources(dataset)
    except TypeError:  # no data set of MMEngine's: nothing is known of its labels
        return 0
    chosen = np.unique(np.linspace(0, len(sources) - 1, num_samples).round().astype(int))
    skip = replaces_unreadable(dataset)
    return sum(_check_map(*resolve(dataset, sources[i])[1:], ignored, skip) for i in chosen)


def _check_map(base: BaseDataset, index: int, ignored: Mapping[str, int] | None, skip: bool) -> bool:
    info = base.get_data_info(index)
    path = info.get('seg_map_path')
    classes = base.metainfo.get('classes')
    if path is None or not classes or 'reduce_zero_label' not in info:
        return False
    if not file_exists(path, base):
        raise MissingFileError(
            f'the annotation {path} of {info["img_path"]} does not exist: correct `data_prefix` or `seg_map_suffix`.'
        )
    loaded = _load_map(base, info, skip)
    if loaded is None:
        return False
    values = np.unique(loaded).astype(int)
    ignored = ignored or {"the data set's `ignore_index`": getattr(base, 'ignore_index', 255)}
    by_all = len(set(ignored.values())) == 1
    wrong = values >= len(classes)
    if by_all:
        wrong &= values != next(iter(ignored.values()))
    if wrong.any():
        named = values[wrong].tolist()
        more = ', ...' if len(named) > _NAMED_AT_MOST else ''
        changed = (
            ' (after reduce_zero_label or label_map)' if info['reduce_zero_label'] or info.get('label_map') else ''
        )
        ignoring = ' and '.join(f'{label} by {name}' for name, label in ignored.items())
        raise UserError(
            f'{path} holds the label values {str(named[:_NAMED_AT_MOST])[1:-1]}{more}{changed}, '
            f'but {type(base).__name__} has the classes 0 to {len(classes) - 1}, and ignored is '
            f"{ignoring}{'' if by_all else ', which differ'}: correct the file, the data set's "
            '`metainfo` or `reduce_zero_label`, or what is ignored.'
        )
    return True


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
