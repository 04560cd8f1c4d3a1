"""What is wrong in annotations of PASCAL VOC's layout, told before MMDetection reads them."""

import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from mmengine.fileio import get, list_from_file

from ..utils.errors import MissingFileError, UserError, first_line
from ..utils.optional import is_installed
from .findings import Findings, shortened

__all__ = ['check_xml_files', 'reads_xml']

_SLACK = 1.0  # pixels: converters round, and count from 0 or from 1
_MANY = 0.5  # share of boxes from which the files are refused though no cause is recognised
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


class _Object(NamedTuple):
    """An object of an annotation file: its class, corners, the image's (width, height) if told, and the file."""

    name: str
    corners: list[float]
    size: Any  # (width, height), or None where the file does not say
    path: str


def reads_xml(kind: Any) -> bool:
    """Whether a class reads files as MMDetection's ``XMLDataset`` does."""
    if not is_installed('mmdet'):
        return False
    from mmdet.datasets import XMLDataset

    loads = getattr(kind, 'load_data_list', None)
    return isinstance(kind, type) and issubclass(kind, XMLDataset) and loads is XMLDataset.load_data_list


def check_xml_files(base: Any, classes: Sequence[str], findings: Findings) -> None:
    """Looks through all files that a data set lists; nothing is changed.

    Args:
        base: An ``XMLDataset``, its files read or not.
        classes (Sequence[str]): Of the data set.
        findings (Findings): What refuses and warns.

    Raises:
        FileNotFoundError: The list or a file of it is missing.
        ValueError: One sentence that names the first file, how many are wrong, and the mend.
    """
    paths = _listed_files(base, findings)
    objects: list[_Object] = []
    faults: dict[str, list[str]] = {}
    for path in paths:
        try:
            objects += _objects_of(path, getattr(base, 'backend_args', None))
        except _Fault as error:
            faults.setdefault(str(error), []).append(path)
    if faults:
        fault, wrong = max(faults.items(), key=lambda item: len(item[1]))
        kind = MissingFileError if fault == _MISSING else UserError
        raise kind(f'{len(wrong)} of {len(paths)} annotation files {fault}, the first is {wrong[0]}: {_MENDS[fault]}')
    _check_names(base.ann_file, objects, classes, findings)
    _check_corners(base.ann_file, [o for o in objects if o.size is not None], findings)


class _Fault(Exception):
    """What hinders MMDetection from reading a file."""


_MISSING = 'do not exist'
_NO_XML = 'are no XML'
_NO_SIZE = 'have no usable <size>'
_NO_NAME = 'have an <object> without a <name>'
_NO_BOX = 'have an <object> without the four numbers of its <bndbox>'
_MENDS = {
    _MISSING: 'correct `data_root`, `ann_subdir` or the names in `ann_file`, which have no ending there',
    _NO_XML: 'write or copy them again',
    _NO_SIZE: 'write <width> and <height> of the image in whole pixels',
    _NO_NAME: 'write the name of its class',
    _NO_BOX: 'write <xmin>, <ymin>, <xmax> and <ymax> in pixels',
}


def _listed_files(base: Any, findings: Findings) -> list[str]:
    try:
        names = list_from_file(base.ann_file, backend_args=getattr(base, 'backend_args', None))
    except FileNotFoundError as error:
        raise MissingFileError(f'{base.ann_file} does not exist: correct `data_root` or `ann_file`.') from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{base.ann_file} cannot be read as a list of names ({first_line(error)}): write it again'
        ) from error
    empty = [i for i, name in enumerate(names) if not name.strip()]
    if empty:
        raise UserError(f'line {empty[0] + 1} of {base.ann_file} is empty, where a name is expected: remove such lines')
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        findings.warn(
            'annotation_ids',
            f'{base.ann_file} has {len(twice)} names more than once, the first is {twice[0]!r}: these images count '
            'several times; remove what stands twice, unless that is meant.',
        )
    return [osp.join(base.sub_data_root, base.ann_subdir, f'{name}.xml') for name in names]


def _objects_of(path: str, backend_args: dict | None) -> list[_Object]:
    try:
        root = ElementTree.fromstring(get(path, backend_args=backend_args))
    except FileNotFoundError as error:
        raise _Fault(_MISSING) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: of an unknown encoding
        raise _Fault(_NO_XML) from error
    size: Any = root.find('size')
    if size is not None:
        size = tuple(_number(size, side, _NO_SIZE, int) for side in ('width', 'height'))
        if min(size) < 1:  # as some tools write it, and MMDetection leaves such images out
            raise _Fault(_NO_SIZE)
    objects = []
    for entry in root.findall('object'):
        name = entry.findtext('name')
        if not name:
            raise _Fault(_NO_NAME)
        box = entry.find('bndbox')
        if box is None:
            raise _Fault(_NO_BOX)
        corners = [_number(box, corner, _NO_BOX, float) for corner in _CORNERS]
        objects.append(_Object(name, corners, size, path))
    return objects


def _number(node: ElementTree.Element, name: str, fault: str, kind: type) -> Any:
    try:
        value = kind(node.findtext(name))
    except (TypeError, ValueError) as error:
        raise _Fault(fault) from error
    if not abs(value) < 1e12:  # no nan either
        raise _Fault(fault)
    return value


def _check_names(path: str, objects: list[_Object], classes: Sequence[str], findings: Findings) -> None:
    used = Counter(o.name for o in objects)
    others = [f'{name!r} ({count} objects)' for name, count in used.items() if name not in classes]
    empty = [name for name in classes if not used[name]]
    if others and len(empty) == len(classes):
        findings.refuse(
            'categories',
            f'none of the {len(objects)} objects of {path} is of the classes {shortened(classes)}, but of '
            f'{shortened(others)}: correct `metainfo` of the data set or the names in the files',
        )
    elif others:
        findings.warn(
            'categories',
            f"{path} lists objects that are of none of the data set's classes, and are left out: {shortened(others)}"
            + (f', and none of the class {shortened(empty)}' if empty else '')
            + '; if that is not meant, correct `metainfo` or the names in the files.',
        )
    elif empty and objects:
        findings.warn(
            'categories',
            f'{path} lists no object of the class {shortened(empty)}: it cannot be learned or measured by these files.',
        )


def _check_corners(path: str, objects: list[_Object], findings: Findings) -> None:
    if not objects:
        return
    corners, sizes = (np.array([getattr(o, name) for o in objects], float) for name in ('corners', 'size'))
    first, second = corners[:, :2], corners[:, 2:]
    outside = (first < -_SLACK).any(1) | (second > sizes + _SLACK).any(1)
    flat = (second - first < 1).any(1)
    wrong = outside | flat
    if not wrong.any():
        return
    example = objects[int(np.argmax(wrong))]
    sentence = (
        f'{path}: {outside.sum()} of {len(objects)} boxes leave their image and {flat.sum()} are under a pixel wide or '
        f'high, the first is {example.corners} in {example.path}, whose image is {example.size[0]} x {example.size[1]}'
    )
    mend = 'but files of this layout have the corners xmin, ymin, xmax and ymax in pixels; convert them'
    if corners.min() >= -0.01 and corners.max() <= 1.01:
        findings.refuse('box_units', f'{sentence}: they look like shares of the image from 0 to 1, {mend}')
    elif flat.any() and (second > 0).all() and (first + second <= sizes + _SLACK).all():
        findings.refuse('box_units', f'{sentence}: they look like corner, width and height, {mend}')
    elif wrong.mean() >= _MANY:
        findings.refuse('box_units', f'{sentence}: {mend.removeprefix("but ")}')
    else:
        findings.warn('box_units', f'{sentence}: correct them, or they are trained on as they are.')
