"""Checks of detection data: annotation files (the rules are in coco_file, xml_files), image sizes, boxes."""

import copy
import logging
import os
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..datasets.readable import file_exists, load_or_skip, replaces_unreadable
from ..datasets.source_images import transforms_of
from ..datasets.wrappers import base_datasets, leaves
from ..utils.configs import type_name
from ..utils.errors import UserError
from ..utils.optional import is_installed
from ..utils.values import spread_over
from .coco_file import check_categories, check_coco_file, read_coco_file
from .findings import Findings, on_main_process, shortened
from .xml_files import check_xml_files, reads_xml

__all__ = ['check_annotation_files', 'check_boxes']

_ENTRIES = 2000  # looked through for an object; a whole COCO takes seconds
# A run asks twice: before data sets are built, which may fail, and after, for those not started by our tools.
_checked: set[tuple] = set()


def check_annotation_files(cfg: Config, *parts: str) -> None:
    """Looks through files of COCO's and VOC's layout before MMDetection builds data sets and metrics from them.

    All processes must call this, after the Runner is built (names are looked up in its scope).

    Args:
        cfg (Config): Of the run.
        parts (str): 'train', 'val' or 'test'.

    Raises:
        FileNotFoundError, OSError, ValueError: See :func:`check_coco_file`.
    """

    def check() -> None:
        for part in parts:
            _check_files(cfg, part)

    on_main_process(check)


def _check_files(cfg: Config, part: str) -> None:
    findings = Findings.of_config(cfg)
    metrics = cfg.get(f'{part}_evaluator') or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    metrics = [m for m in metrics if isinstance(m, dict) and type_name(m) == 'CocoMetric'] if part != 'train' else []
    masks = any('segm' in (m.get('metric') or 'bbox') for m in metrics)
    loader = cfg.get(f'{part}_dataloader') or {}
    for config in leaves(loader.get('dataset')):
        base = _unread(config) if isinstance(config, dict) else None
        if base is None:
            continue
        _check_file(base, findings, masks, bool(metrics))
        for metric in metrics:
            _check_file(base, findings, masks, True, metric.get('ann_file'))


def _unread(config: dict) -> BaseDataset | None:
    """The data set of a config, its file not read; None of other kinds than COCO's and VOC's."""
    kind = config.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(config.get('_scope_')) as registry:
            kind = registry.get(kind)
    if not _is_looked_through(kind):
        return None
    try:
        return DATASETS.build(dict(copy.deepcopy(config), lazy_init=True))
    except Exception:  # told when the run builds it
        return None


def _is_looked_through(kind: Any) -> bool:
    return _reads_coco(kind) or reads_xml(kind)


def _reads_coco(kind: Any) -> bool:
    """Whether a class reads COCO's entries as MMDetection's ``CocoDataset`` does; LVIS has other fields."""
    if not is_installed('mmdet'):
        return False
    from mmdet.datasets import CocoDataset, LVISV05Dataset

    return (
        isinstance(kind, type)
        and issubclass(kind, CocoDataset)
        and not issubclass(kind, LVISV05Dataset)
        and getattr(kind, 'parse_data_info', None) is CocoDataset.parse_data_info
    )


def _check_file(
    base: BaseDataset, findings: Findings, masks: bool = False, evaluated: bool = False, path: str | None = None
) -> None:
    classes, xml = class_names(base), path is None and reads_xml(type(base))
    path = path or base.ann_file
    masks = masks or any(getattr(t, 'with_mask', False) for t in transforms_of(base))
    key = (path, _stamp(path), classes, masks, evaluated, *sorted(findings.skip))
    if key in _checked:
        return
    if xml:
        check_xml_files(base, classes, findings)
    else:
        check_coco_file(path, classes, findings, masks, evaluated, getattr(base, 'backend_args', None))
    _checked.add(key)


def _stamp(path: str) -> tuple:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def class_names(base: BaseDataset) -> tuple[str, ...]:
    """The classes of a data set.

    Raises:
        ValueError: They are one text, whose letters would be taken for classes.
    """
    classes = base.metainfo.get('classes') or ()
    if isinstance(classes, str):
        raise UserError(
            f"the `classes` of {type(base).__name__}'s metainfo are the text {classes!r}, whose letters would be the "
            f'classes: write a tuple, ({classes!r},) with a comma.'
        )
    return tuple(classes)


def check_boxes(
    dataset: Any, num_images: int = 8, findings: Findings | None = None, masks: bool = False, evaluated: bool = False
) -> int:
    """Looks whether annotated objects are of the data set's classes and fit their images.

    Args:
        dataset: Built data set, wrapped or not.
        num_images: How many image files are opened, spread over each data set.
        findings: What refuses and warns. Default: all checks.
        masks: Whether the evaluation wants outlines.
        evaluated: Whether COCO's evaluation reads the annotation files too.

    Returns:
        Number of data sets with boxes that were looked at.

    Raises:
        ValueError: A file that :func:`check_coco_file` refuses, classes that another file does not have or numbers in
            another order, no object at all, an image whose size is not what its annotation says, or one that cannot
            be read where the data set does not go on without it.
    """
    findings = findings or Findings()
    with_boxes = []
    for base in base_datasets(dataset):
        base.full_init()
        if _is_looked_through(type(base)):
            _check_file(base, findings, masks, evaluated)
        elif getattr(base, 'cat_ids', None) is not None:  # panoptic files, LVIS
            used = [dict(category_id=i) for i in getattr(base, 'cat_img_map', None) or ()]
            categories = read_coco_file(base.ann_file, getattr(base, 'backend_args', None))['categories']
            check_categories(base.ann_file, categories, used, class_names(base), findings)
        if len(base) and 'instances' in base.get_data_info(0):
            with_boxes.append(base)
    _check_objects(with_boxes)
    for base in with_boxes:
        for index in spread_over(len(base), num_images):
            _check_size(base, index, replaces_unreadable(dataset))
    return len(with_boxes)


def _check_objects(bases: list[BaseDataset]) -> None:
    """Images of background only are of use beside others, as a member of a ConcatDataset."""
    without = [base for base in bases if not _has_objects(base, _ENTRIES)]
    if len(without) == len(bases):  # all images, before a run is refused
        without = [base for base in bases if not _has_objects(base, len(base))]
    if bases and len(without) == len(bases):
        kinds = ', '.join(sorted({type(base).__name__ for base in bases}))
        raise UserError(
            f'none of the {sum(map(len, bases))} images of {kinds} has an object of the classes '
            f'{shortened(bases[0].metainfo.get("classes") or ())}: check `ann_file` and the class '
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
    entries = (base.get_data_info(i) for i in spread_over(len(base), number))
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
