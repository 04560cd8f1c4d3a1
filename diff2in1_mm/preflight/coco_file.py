"""What is wrong in an annotation file of COCO's layout, told before MMDetection reads it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.fileio import get_text

from ..utils.errors import MissingFileError, UnusableFileError, UserError, first_line
from .findings import Findings, shortened

__all__ = ['check_categories', 'check_coco_file', 'read_coco_file']

_SLACK = 1.0  # pixels: converters round
_SOME = 0.1  # share of boxes that leave their image, from which another unit explains them
_MANY = 0.5  # share of objects from which the file is refused though no cause is recognised


def check_coco_file(
    path: str,
    classes: Sequence[str],
    findings: Findings,
    masks: bool = False,
    evaluated: bool = False,
    backend_args: dict | None = None,
) -> None:
    """Looks through all entries of a file; nothing is changed.

    Args:
        path (str): Of the JSON file.
        classes (Sequence[str]): Of the data set.
        findings (Findings): What refuses and warns.
        masks (bool): Whether outlines are wanted beside boxes.
        evaluated (bool): Whether COCO's evaluation will read the file too.
        backend_args (dict | None): By which the data set reads it.

    Raises:
        FileNotFoundError, OSError: The file is missing, or no JSON.
        ValueError: One sentence that names the file, how many entries are wrong, the first, and the mend.
    """
    content = read_coco_file(path, backend_args)
    images, objects = content['images'], content['annotations']
    _check_fields(path, content, findings, masks, evaluated)
    _check_ids(path, images, objects, findings, evaluated)
    kept = check_categories(path, content['categories'], objects, classes, findings)
    if 'coco_fields' in findings.skip and _unusable(images, objects):
        return
    by_id = {image['id']: image for image in images}
    objects = [a for a in objects if a['image_id'] in by_id and not a.get('ignore')]
    if objects:
        _check_boxes(path, objects, by_id, findings)
        _check_dropped(path, objects, by_id, kept, findings)


def read_coco_file(path: str, backend_args: dict | None = None) -> dict[str, list[dict]]:
    """The images, annotations and categories of a file.

    Raises:
        FileNotFoundError, OSError, ValueError: It is missing, or not of this layout.
    """
    try:
        content = json.loads(get_text(path, backend_args=backend_args))
    except FileNotFoundError as error:
        raise MissingFileError(f'{path} does not exist: correct `data_root` or `ann_file`.') from error
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableFileError(
            f'{path} cannot be read as JSON ({first_line(error)}): write or copy it again.'
        ) from error
    parts = {}
    for name in ('images', 'annotations', 'categories'):
        part = content.get(name) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise UserError(
                f"{path} has no list {name!r} of entries, so that it is no file of COCO's layout "
                '({"images": [...], "annotations": [...], "categories": [...]}): export it as COCO.'
            )
        parts[name] = part
    return parts


# --- fields -----------------------------------------------------------------------------------------


def _check_fields(path: str, content: dict, findings: Findings, masks: bool, evaluated: bool) -> None:
    """A missing field is a KeyError in MMDetection or pycocotools, some of them after the warm-up."""
    wanted = {
        'images': {'id': _is_id, 'file_name': _is_name, 'width': _is_size, 'height': _is_size},
        'annotations': {'id': _is_id, 'image_id': _is_id, 'category_id': _is_id, 'bbox': _is_box, 'area': _is_number},
        'categories': {'id': _is_id, 'name': _is_name},
    }
    if evaluated:
        wanted['annotations']['iscrowd'] = _is_flag
    if masks:
        wanted['annotations']['segmentation'] = _is_outline
    for part, fields in wanted.items():
        for field, fits in fields.items():
            wrong = [i for i, entry in enumerate(content[part]) if not fits(entry.get(field))]
            if not wrong:
                continue
            first = content[part][wrong[0]]
            lacking = sum(field not in content[part][i] for i in wrong)
            fault = f'no {field!r}' if lacking == len(wrong) else f'no usable {field!r}'
            given = f' ({_cut(first[field])})' if field in first else ''
            findings.refuse(
                'coco_fields',
                f'{path}: {len(wrong)} of {len(content[part])} {part} have {fault}, the first is '
                f'{_called(part, wrong[0], first)}{given}: {_MENDS.get(field, "add it to the file")}',
            )


_MENDS = {
    'iscrowd': "COCO's evaluation needs it: write 0 (1 for a crowd) into each",
    'area': 'write width x height of the box, or the area of the outline, into each',
    'segmentation': 'the pipeline loads masks (with_mask=True): add outlines, or leave masks out of the config',
    'bbox': 'write the four numbers [x, y, width, height] in pixels',
    'width': "write the image's width in pixels",
    'height': "write the image's height in pixels",
    'id': 'number the entries from 1, each with a number of its own',
}


def _called(part: str, index: int, entry: Mapping) -> str:
    if part == 'images' and _is_name(entry.get('file_name')):
        return entry['file_name']
    return f'id {entry["id"]!r}' if _is_id(entry.get('id')) else f'number {index + 1} in the file'


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + '...'


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e12 <= value <= 1e12  # what JSON has; asked a million times


def _is_size(value: Any) -> bool:
    return _is_number(value) and value >= 1 and value == int(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ''


def _is_flag(value: Any) -> bool:
    return value in (0, 1) and not isinstance(value, (str, list, dict))


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_outline(value: Any) -> bool:
    """A polygon of at least three corners, or run lengths."""
    if isinstance(value, dict):
        return {'counts', 'size'} <= set(value)
    if not isinstance(value, list) or not value:
        return False
    return any(
        isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and all(map(_is_number, polygon))
        for polygon in value
    )


def _unusable(images: list[dict], objects: list[dict]) -> bool:
    return not all(_is_id(i.get('id')) and _is_size(i.get('width')) and _is_size(i.get('height')) for i in images) or (
        not all(_is_id(a.get('image_id')) and _is_box(a.get('bbox')) and _is_number(a.get('area')) for a in objects)
    )


# --- ids --------------------------------------------------------------------------------------------


def _check_ids(path: str, images: list[dict], objects: list[dict], findings: Findings, evaluated: bool) -> None:
    """Ids join the parts of the file; of two entries with one id COCO's reader keeps the last."""
    for entries, what, mend in (
        (images, 'image', "the images of exports that were joined need new ids, and their annotations' image_id too"),
        (objects, 'annotation', 'give each annotation a number of its own'),
    ):
        counts = Counter(entry['id'] for entry in entries if _is_id(entry.get('id')))
        twice = [i for i, n in counts.items() if n > 1]
        if twice:
            of_first = [str(_shown(entry)) for entry in entries if entry.get('id') == twice[0]]
            findings.refuse(
                'annotation_ids',
                f'{path}: the {what} id {twice[0]!r} stands {counts[twice[0]]} times ({shortened(of_first)}), and '
                f'{len(twice)} {what} ids stand more than once, of which only the last would be kept: {mend}',
            )
    known = {image['id'] for image in images if _is_id(image.get('id'))}
    lost = [a for a in objects if _is_id(a.get('image_id')) and a['image_id'] not in known]
    if lost:
        _tell_lost(path, lost, objects, known, findings)
    if evaluated and any(a.get('id') == 0 and not isinstance(a.get('id'), bool) for a in objects):
        findings.warn(
            'annotation_ids',
            f'{path}: an annotation has the id 0, which COCO\'s evaluation takes for "not matched", so that this '
            'object counts as missed whatever is predicted: number the annotations from 1, for which it is enough '
            f'to write {max((a["id"] for a in objects if isinstance(a.get("id"), int)), default=0) + 1} in place of 0 '
            '(tools/prepare_data.py numbered BCCD from 0 before December 2026).',
        )


def _shown(entry: Mapping) -> Any:
    return entry.get('file_name') or f'image {entry.get("image_id")}'


def _tell_lost(path: str, lost: list[dict], objects: list[dict], known: set, findings: Findings) -> None:
    by_text = {str(i): i for i in known}
    other_type = [a for a in lost if str(a['image_id']) in by_text]
    sentence = (
        f'{path}: {len(lost)} of {len(objects)} annotations belong to no image, the first (id {lost[0].get("id")!r}) '
        f'has image_id {lost[0]["image_id"]!r}'
    )
    if other_type:
        given = other_type[0]['image_id']
        findings.refuse(
            'annotation_ids',
            f'{sentence}, and {len(other_type)} would if ids were of one type, as {given!r} and '
            f'{by_text[str(given)]!r}: write numbers, or text, in both places',
        )
    elif len(lost) == len(objects):
        findings.refuse('annotation_ids', f'{sentence}: correct the ids of the images, or the image_id')
    else:
        findings.warn('annotation_ids', f'{sentence}: they are left out; if that is not meant, correct the ids.')


# --- categories -------------------------------------------------------------------------------------


def check_categories(
    path: str, categories: list[dict], objects: list[dict], classes: Sequence[str], findings: Findings
) -> dict[Any, str]:
    """COCO data sets number the classes in the order of the *file*, whatever that of ``metainfo`` is.

    Returns:
        dict: Names of the categories that are classes, by id.
    """
    categories = [c for c in categories if _is_id(c.get('id')) and _is_name(c.get('name'))]
    names = {c['id']: c['name'] for c in categories}
    for what in ('id', 'name'):
        counts = Counter(c[what] for c in categories)
        twice = [value for value, n in counts.items() if n > 1 and (what == 'id' or value in classes)]
        if twice:
            findings.refuse(
                'categories',
                f'{path}: {counts[twice[0]]} categories have the {what} {twice[0]!r}: make them one category, and '
                'give its id to the annotations of all',
            )
    if not categories and not objects:  # images of background only
        return {}
    kept = {i: name for i, name in names.items() if name in classes}
    missing = [name for name in classes if name not in kept.values()]
    if missing:
        findings.refuse(
            'categories',
            f"{path} has the categories {shortened(names.values())}, but the data set's classes are "
            f'{shortened(classes)}: {shortened(missing)} would never be learned; correct `metainfo` of the data set '
            'or the names in the file',
        )
    ordered = list(kept.values())
    if ordered != list(classes) and not missing:
        findings.refuse(
            'categories',
            f'{path} numbers its categories in the order {shortened(ordered)}, but the data set lists its classes '
            f"as {shortened(classes)}: each would go by another's name; list them in `metainfo` in the order of the "
            'file, or write the file in that of the classes',
        )
    used = Counter(a['category_id'] for a in objects if _is_id(a.get('category_id')))
    unknown = sorted(used.keys() - names.keys(), key=str)
    if unknown:
        findings.refuse(
            'categories',
            f'{path} has objects of the category ids {shortened(unknown)}, but its categories have the ids '
            f'{shortened(sorted(names, key=str))}: these objects would be dropped; correct the ids in the file',
        )
    left_out = [f'{name} ({used[i]} objects)' for i, name in names.items() if i not in kept and used[i]]
    if left_out:
        findings.warn(
            'categories',
            f"{path} has categories that are none of the data set's classes, whose objects are left out: "
            f'{shortened(left_out)}.',
        )
    empty = [name for i, name in kept.items() if not used[i]]
    if empty and objects:
        findings.warn(
            'categories',
            f'{path} has no object of the class {shortened(empty)}: it cannot be learned or measured by this file.',
        )
    return kept


# --- boxes ------------------------------------------------------------------------------------------


def _check_boxes(path: str, objects: list[dict], images: Mapping, findings: Findings) -> None:
    boxes = np.array([a['bbox'] for a in objects], float)
    sizes = np.array([[images[a['image_id']][side] for side in ('width', 'height')] for a in objects], float)
    outside = (boxes[:, :2] < -_SLACK).any(1) | (boxes[:, :2] + boxes[:, 2:] > sizes + _SLACK).any(1)
    outside |= (boxes[:, :2] >= sizes).any(1) | (boxes[:, :2] + boxes[:, 2:] <= 0).any(1)  # within the slack
    tiny = (boxes[:, 2:] < 1).any(1)
    wrong = outside | tiny
    if not wrong.any():
        return
    first = objects[int(np.argmax(wrong))]
    image = images[first['image_id']]
    sentence = (
        f'{path}: {outside.sum()} of {len(boxes)} boxes leave their image and {tiny.sum()} are under a pixel wide or '
        f'high, the first (annotation {first.get("id")!r}) is {first["bbox"]} in {image.get("file_name")} of '
        f'{image["width"]} x {image["height"]}'
    )
    unit = _likely_unit(boxes, sizes, outside)
    if unit:
        findings.refuse(
            'box_units',
            f"{sentence}: they look like {unit}, but COCO's are [x, y, width, height] in pixels; convert them",
        )
    elif wrong.mean() >= _MANY:
        findings.refuse(
            'box_units',
            f"{sentence}: COCO's are [x, y, width, height] in pixels of the image as it is in the file; correct them",
        )
    else:
        findings.warn('box_units', f'{sentence}: what lies outside is cut off, and what is under a pixel left out.')


def _likely_unit(boxes: np.ndarray, sizes: np.ndarray, outside: np.ndarray) -> str:
    """What all boxes (N, 4) are, if that explains those that are wrong; sizes (N, 2) are (w, h)."""
    if boxes.min() >= -0.01 and boxes.max() <= 1.01:
        return 'shares of the image from 0 to 1'
    first, second = boxes[:, :2], boxes[:, 2:]
    if outside.mean() < _SOME:  # single mistakes; large or small objects alone fit other units, too
        return ''
    if (second > first).all() and (second <= sizes + _SLACK).all() and (first >= -_SLACK).all():
        return 'corners (x1, y1, x2, y2)'
    half = second / 2
    if (first - half >= -_SLACK).all() and (first + half <= sizes + _SLACK).all():
        return 'centre and size (cx, cy, width, height)'
    return ''


def _check_dropped(path: str, objects: list[dict], images: Mapping, kept: Mapping, findings: Findings) -> None:
    """MMDetection leaves out objects whose ``area`` is 0, whatever their box is."""
    zero = [a for a in objects if a['area'] <= 0 < min(a['bbox'][2:])]
    if not zero:
        return
    totals = Counter(a['category_id'] for a in objects)
    lost = Counter(a['category_id'] for a in zero)
    whole = [kept[i] for i in lost if i in kept and lost[i] == totals[i]]
    first = zero[0]
    sentence = (
        f"{path}: {len(zero)} of {len(objects)} annotations have an 'area' of 0 or less, the first is id "
        f'{first.get("id")!r} in {images[first["image_id"]].get("file_name")}, and MMDetection leaves them out'
    )
    mend = 'write width x height of the box, or the area of the outline, into each'
    if whole or len(zero) >= _MANY * len(objects):
        gone = f' (all objects of {shortened(whole)})' if whole else ''
        findings.refuse('dropped_objects', f'{sentence}{gone}: {mend}')
    else:
        findings.warn('dropped_objects', f'{sentence}: {mend}.')
