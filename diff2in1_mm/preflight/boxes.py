"""Bad boxes told in one sentence, before any long work."""

import json
import logging
import re
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.fileio import get_text
from mmengine.logging import print_log

from ..datasets.readable import file_exists, load_or_skip, replaces_unreadable
from ..datasets.source_images import transforms_of
from ..datasets.wrappers import base_datasets
from ..utils.errors import UserError

__all__ = ['check_boxes']

_ENTRIES = 2000  # looked through for an object; a whole COCO takes seconds


def check_boxes(dataset: Any, num_images: int = 8) -> int:
    """Looks whether annotated objects are of the data set's classes and fit their images.

    All processes must call this: the first reads for the others.

    Args:
        dataset: Built data set, wrapped or not.
        num_images: How many image files are opened, spread over each data set.

    Returns:
        Number of data sets with boxes that were looked at.

    Raises:
        ValueError: Classes that the annotation file does not have or numbers in another order,
            category ids of objects that it does not list, no object at all, an image whose size is
            not what its annotation says, or one that cannot be read where the data set does not go
            on without it.
    """
    with_boxes = []
    for base in base_datasets(dataset):
        base.full_init()
        if len(base) and 'instances' in base.get_data_info(0):
            _check_categories(base)
            with_boxes.append(base)
    _check_objects(with_boxes)
    for base in with_boxes:
        for index in _spread(len(base), num_images):
            _check_size(base, index, replaces_unreadable(dataset))
    return len(with_boxes)


def _spread(total: int, number: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, min(total, number)).astype(int)).tolist()


def _check_categories(base: BaseDataset) -> None:
    """COCO data sets keep the ids of those classes that the file knows, and drop the others.

    They number the classes in the order of the *file*, whatever that of ``metainfo`` is.
    """
    classes, known = list(base.metainfo.get('classes') or ()), getattr(base, 'cat_ids', None)
    if known is None:
        return
    # MMDetection keeps no names; the file is large, so one process reads it for all
    read = [_categories(base) if get_rank() == 0 else None]
    broadcast_object_list(read)
    names = {category['id']: category['name'] for category in read[0]}
    if not known and not names:  # images of background only, see _check_objects
        return
    if len(known) != len(classes):
        missing = [name for name in classes if name not in names.values()]
        raise UserError(
            f"{base.ann_file} has the categories {_short(names.values())}, but the data set's "
            f'classes are {_short(classes)}: {_short(missing)} would never be learned; correct '
            '`metainfo` of the data set or the names in the file.'
        )
    if not names:
        return
    ordered = [names.get(i) for i in known]
    if ordered != classes and sorted(map(str, ordered)) == sorted(classes):
        raise UserError(
            f'{base.ann_file} numbers its categories in the order {_short(ordered)}, but the data '
            f"set lists its classes as {_short(classes)}: each would go by another's name; list "
            'them in `metainfo` in the order of the file.'
        )
    used = set(getattr(base, 'cat_img_map', None) or ())  # ids that annotations have
    if used - set(names):
        raise UserError(
            f'{base.ann_file} has objects of the category ids {_short(sorted(used - set(names)))}, '
            f'but its categories have the ids {_short(sorted(names))}: these objects would be '
            'dropped; correct the ids in the file.'
        )


def _categories(base: BaseDataset) -> list[dict]:
    """The file's categories, without parsing all of it: COCO's has 450 MB."""
    text = get_text(base.ann_file, backend_args=getattr(base, 'backend_args', None))
    for found in reversed(list(re.finditer(r'"categories"\s*:\s*(?=\[)', text))):
        try:
            categories = json.JSONDecoder().raw_decode(text, found.end())[0]
            if all({'id', 'name'} <= set(category) for category in categories):
                return categories
        except (ValueError, TypeError):  # some other list of that name
            continue
    return []


def _check_objects(bases: list[BaseDataset]) -> None:
    """Images of background only are of use beside others, as a member of a ConcatDataset."""
    without = [base for base in bases if not _has_objects(base, _ENTRIES)]
    if len(without) == len(bases):  # all images, before a run is refused
        without = [base for base in bases if not _has_objects(base, len(base))]
    if bases and len(without) == len(bases):
        kinds = ', '.join(sorted({type(base).__name__ for base in bases}))
        raise UserError(
            f'none of the {sum(map(len, bases))} images of {kinds} has an object of the classes '
            f'{_short(bases[0].metainfo.get("classes") or ())}: check `ann_file` and the class '
            'names in `metainfo`.'
        )
    for base in without:
        print_log(
            f'No object of the classes was found in {getattr(base, "ann_file", "") or type(base)} '
            f'({len(base)} images), which teaches background only: if that is not meant, check its '
            '`ann_file` and the class names in `metainfo`.',
            'current',
            level=logging.WARNING,
        )


def _has_objects(base: BaseDataset, number: int) -> bool:
    entries = (base.get_data_info(i) for i in _spread(len(base), number))
    return any(entry['instances'] or entry.get('segments_info') for entry in entries)


def _check_size(base: BaseDataset, index: int, skip: bool) -> None:
    """Boxes of a photograph that is turned by its EXIF tag lie elsewhere than its pixels."""
    entry = base.get_data_info(index)
    loader = next((t for t in transforms_of(base) if type(t).__name__ == 'LoadImageFromFile'), None)
    if loader is None or not {'height', 'width'} <= set(entry) or not file_exists(entry['img_path'], base):
        return  # a missing file is named when it is read
    files = dict(img_path=entry['img_path'])
    loaded = load_or_skip(loader.transform, dict(files), files, base, skip)
    size = loaded['img'].shape[:2] if loaded else None
    wanted = entry['height'], entry['width']
    if size is None or size == wanted:
        return
    turned = (
        " (turned by its EXIF tag: LoadImageFromFile's color_type='color_ignore_orientation' leaves it as it lies)"
        if size == wanted[::-1]
        else ''
    )
    raise UserError(
        f'{entry["img_path"]} is {size[1]} x {size[0]} pixels{turned}, but its '
        f'annotation says {wanted[1]} x {wanted[0]}: boxes would lie elsewhere; '
        'correct the annotation or the image.'
    )


def _short(names: Any) -> str:
    names = list(names)
    more = f', ... ({len(names)})' if len(names) > 8 else ''
    return ', '.join(map(str, names[:8])) + more
