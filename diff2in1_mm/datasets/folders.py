"""Folders and files of a data set, looked for before it is built."""

import inspect
import os
import os.path as osp
import traceback
from collections import Counter
from typing import Any

from mmengine.registry import DATASETS

from ..utils.errors import MissingFileError, UserError
from .wrappers import leaves

_IMAGE_KEYS = ('img_path', 'img')


def build_checked(cfg: Any) -> Any:
    """Builds a data set whose folders are there.

    Args:
        cfg: Config of a data set (dict).

    Raises:
        FileNotFoundError: See :func:`check_folders`.
        ValueError: An annotation file lacks a field, or a panoptic one has segments of a category that is
            not one of the classes, of which MMDetection says no more than the name or number.
    """
    check_folders(cfg)
    try:
        return DATASETS.build(cfg)
    except KeyError as error:
        if not any(entry.name == 'parse_data_info' for entry in traceback.extract_tb(error.__traceback__)):
            raise
        if isinstance(error.args[0], str):
            raise UserError(
                f'an entry of an annotation file of the data set ({cfg.get("ann_file")}) has no field {error}: add it '
                'to all entries'
            ) from error
        raise UserError(
            f'an annotation file of the data set has segments of the category id {error}, which is none of its '
            'classes: correct `metainfo` of the data set, or the categories in the file.'
        ) from error


def check_folders(cfg: Any) -> None:
    """Checks that the folders of a data set's config exist and hold files, through all wrappers.

    Data sets themselves fail on an empty folder with numpy's words, so this comes before they are
    built. Paths that are not on this machine's disk (``s3://...``) are not looked at.

    Args:
        cfg: Config of a data set (dict), not built yet.

    Raises:
        FileNotFoundError: Names the folder or file, and the option to correct.
        ValueError: The class names are one text.
    """
    for leaf in leaves(cfg):
        if isinstance(leaf, dict):
            _check_folders_of(leaf)


def _check_folders_of(cfg: dict) -> None:
    _check_class_names(cfg)
    if hasattr(_class(cfg), 'prepare'):  # a data set that makes its files
        _class(cfg).prepare(cfg)
        return
    backend = (cfg.get('backend_args') or {}).get('backend', 'local')
    if backend != 'local':
        return
    root = cfg.get('data_root') or ''
    if '://' in root:
        return
    if root and not osp.isdir(root):
        raise MissingFileError(
            f'the data folder {root} does not exist: put the data set there, or set `data_root` to where it is.'
        )
    ann_file = cfg.get('ann_file') or ''
    if ann_file and not osp.exists(osp.join(root, ann_file)):
        raise MissingFileError(
            f'the annotation file {osp.join(root, ann_file)} does not exist: correct `ann_file` or `data_root`.'
        )
    for key, prefix in (cfg.get('data_prefix') or {}).items():
        if prefix and '://' not in prefix:
            suffix = _image_suffix(cfg) if key in _IMAGE_KEYS and not ann_file else ''
            _check_folder(osp.join(root, prefix), key, suffix)


def _check_class_names(cfg: Any) -> None:
    """A text in place of a tuple of names is a file that lists them, or a forgotten comma."""
    classes = (cfg.get('metainfo') or {}).get('classes')
    if isinstance(classes, str) and not osp.isfile(classes):
        raise UserError(
            f'`metainfo` of the data set has the classes {classes!r}, a text whose letters would be the classes: '
            f'write a tuple, ({classes!r},) with a comma, or the path of a file with a name in each line.'
        )


def _class(cfg: Any) -> Any:
    """The data set class that a config names."""
    return DATASETS.get(cfg['type']) if isinstance(cfg.get('type'), str) else cfg.get('type')


def _image_suffix(cfg: Any) -> str:
    """Ending by which the data set finds its images in a folder; '' if it does not search."""
    cls = _class(cfg)
    if cfg.get('img_suffix'):
        return cfg['img_suffix']
    for parent in getattr(cls, '__mro__', ()):  # a subclass may pass it on in **kwargs
        option = inspect.signature(parent.__init__).parameters.get('img_suffix')
        if option is not None:
            return option.default
    return ''


def _check_folder(folder: str, key: str, suffix: str) -> None:
    where = f'`data_root` or `data_prefix[{key!r}]`'
    if not osp.isdir(folder):
        raise MissingFileError(f'the data folder {folder} does not exist: put the data set there, or correct {where}.')
    files = (name for _, _, names in os.walk(folder, followlinks=True) for name in names)
    if not any(name.endswith(suffix) for name in files):
        there = _most_common_ending(folder)
        found = f', but files that end in {there}' if suffix and there else ''
        raise MissingFileError(
            f'the data folder {folder} holds no {suffix or "files"}{found}: fill it, '
            f'or correct {where}{" or `img_suffix`" if suffix else ""}.'
        )


def _most_common_ending(folder: str) -> str:
    """Of the files in a folder, as they spell it; '' where none has one."""
    files = (name for _, _, names in os.walk(folder, followlinks=True) for name in names)
    endings = Counter(osp.splitext(name)[1] for name in files)
    del endings['']
    return endings.most_common(1)[0][0] if endings else ''
