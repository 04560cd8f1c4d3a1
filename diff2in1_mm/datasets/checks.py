"""Bad data told in one sentence, before any long work."""
import copy
import inspect
import io
import os
import os.path as osp
import traceback
from typing import Any, Callable, Mapping, Optional

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import get, get_file_backend
from mmengine.registry import DATASETS

from ..synthesis.sources import map_loader, transforms_of
from .source import distinct_sources, resolve

_IMAGE_KEYS = ('img_path', 'img')
_FILE_KEYS = ('img_path', 'seg_map_path', 'depth_map_path', 'normal_map_path')
_NAMED_AT_MOST = 10


def build_checked(cfg: Any) -> Any:
    """Builds a data set whose folders are there.

    Args:
        cfg: Config of a data set (dict).

    Raises:
        FileNotFoundError: See :func:`check_folders`.
        ValueError: A panoptic annotation file has segments of a category that is not one of the
            classes, of which MMDetection says no more than the number.
    """
    check_folders(cfg)
    try:
        return DATASETS.build(cfg)
    except KeyError as error:
        if not any(entry.name == 'parse_data_info' for entry in traceback.extract_tb(
                error.__traceback__)):
            raise
        raise ValueError(
            f'an annotation file of the data set has segments of the category id {error}, which is '
            'none of its classes: correct `metainfo` of the data set, or the categories in the '
            'file.') from error


def check_folders(cfg: Any) -> None:
    """Checks that the folders of a data set's config exist and hold files, through all wrappers.

    Data sets themselves fail on an empty folder with numpy's words, so this comes before they are
    built. Paths that are not on this machine's disk (``s3://...``) are not looked at.

    Args:
        cfg: Config of a data set (dict), not built yet.

    Raises:
        FileNotFoundError: Names the folder or file, and the option to correct.
    """
    for member in cfg.get('datasets', []):
        if isinstance(member, dict):
            check_folders(member)
    if isinstance(cfg.get('dataset'), dict):
        check_folders(cfg['dataset'])
    if hasattr(_class(cfg), 'prepare'):  # a data set that makes its files
        _class(cfg).prepare(cfg)
        return
    backend = (cfg.get('backend_args') or {}).get('backend', 'local')
    if 'datasets' in cfg or 'dataset' in cfg or backend != 'local':
        return
    root = cfg.get('data_root') or ''
    if '://' in root:
        return
    if root and not osp.isdir(root):
        raise FileNotFoundError(f'the data folder {root} does not exist: put the data set there, '
                                'or set `data_root` to where it is.')
    ann_file = cfg.get('ann_file') or ''
    if ann_file and not osp.exists(osp.join(root, ann_file)):
        raise FileNotFoundError(f'the annotation file {osp.join(root, ann_file)} does not exist: '
                                'correct `ann_file` or `data_root`.')
    for key, prefix in (cfg.get('data_prefix') or {}).items():
        if prefix and '://' not in prefix:
            suffix = _image_suffix(cfg) if key in _IMAGE_KEYS and not ann_file else ''
            _check_folder(osp.join(root, prefix), key, suffix)


def _class(cfg: Any) -> Any:
    """The data set class that a config names."""
    return DATASETS.get(cfg['type']) if isinstance(cfg.get('type'), str) else cfg.get('type')


def _image_suffix(cfg: Any) -> str:
    """Ending by which the data set finds its images in a folder; '' if it does not search."""
    cls = _class(cfg)
    if cfg.get('img_suffix') or not inspect.isclass(cls):
        return cfg.get('img_suffix') or ''
    for parent in cls.__mro__:  # a subclass may pass it on in **kwargs
        option = inspect.signature(parent.__init__).parameters.get('img_suffix')
        if option is not None:
            return option.default
    return ''


def _check_folder(folder: str, key: str, suffix: str) -> None:
    where = f'`data_root` or `data_prefix[{key!r}]`'
    if not osp.isdir(folder):
        raise FileNotFoundError(f'the data folder {folder} does not exist: put the data set there, '
                                f'or correct {where}.')
    files = (name for _, _, names in os.walk(folder, followlinks=True) for name in names)
    if not any(name.endswith(suffix) for name in files):
        raise FileNotFoundError(f'the data folder {folder} holds no {suffix or "files"}: fill it, '
                                f'or correct {where}{" or `img_suffix`" if suffix else ""}.')


def check_labels(dataset: Any, num_samples: int = 8,
                 ignored: Optional[Mapping[str, int]] = None) -> int:
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
        raise FileNotFoundError(f'{type(dataset).__name__} holds no samples: check its `data_root`,'
                                ' `data_prefix` and `ann_file`.')
    try:
        sources = distinct_sources(dataset)
    except TypeError:  # no data set of MMEngine's: nothing is known of its labels
        return 0
    chosen = np.unique(np.linspace(0, len(sources) - 1, num_samples).round().astype(int))
    skip = replaces_unreadable(dataset)
    return sum(_check_map(*resolve(dataset, sources[i])[1:], ignored, skip) for i in chosen)


def _check_map(base: BaseDataset, index: int, ignored: Optional[Mapping[str, int]],
               skip: bool) -> bool:
    info = base.get_data_info(index)
    path = info.get('seg_map_path')
    classes = base.metainfo.get('classes')
    if path is None or not classes or 'reduce_zero_label' not in info:
        return False
    if not file_exists(path, base):
        raise FileNotFoundError(f'the annotation {path} of {info["img_path"]} does not exist: '
                                'correct `data_prefix` or `seg_map_suffix`.')
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
        changed = (' (after reduce_zero_label or label_map)'
                   if info['reduce_zero_label'] or info.get('label_map') else '')
        ignoring = ' and '.join(f'{label} by {name}' for name, label in ignored.items())
        raise ValueError(
            f'{path} holds the label values {str(named[:_NAMED_AT_MOST])[1:-1]}{more}{changed}, '
            f'but {type(base).__name__} has the classes 0 to {len(classes) - 1}, and ignored is '
            f'{ignoring}{"" if by_all else ", which differ"}: correct the file, the data set\'s '
            '`metainfo` or `reduce_zero_label`, or what is ignored.')
    return True


def _load_map(base: BaseDataset, info: dict, skip: bool) -> Optional[np.ndarray]:
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


def replaces_unreadable(dataset: Any) -> bool:
    """Whether a data set names files that it cannot read, counts them, and goes on."""
    return hasattr(dataset, 'unreadable')


def load_or_skip(load: Callable[[dict], Any], info: dict, files: dict, base: BaseDataset,
                 skip: bool) -> Any:
    """Loads what is looked at before training.

    Args:
        load: A transform.
        info: What it is called with.
        files: The paths that it reads, by their keys in an annotation entry.
        base: The data set that they are of.
        skip: Whether a file that cannot be read is left to the training, which goes on without it.

    Returns:
        What ``load`` gives; None for a file that is skipped.

    Raises:
        ValueError: A file cannot be read, and the training would end there.
    """
    try:
        return load(info)
    except Exception as error:
        path = unreadable_file(files, error, getattr(base, 'backend_args', None))
        if not path:
            raise
        if skip:
            return None
        raise ValueError(f'{path} cannot be read ({type(error).__name__}: {error}): repair the '
                         'file, or take it out of the data set.') from error


def file_exists(path: str, base: BaseDataset) -> bool:
    """Whether a file is where a data set reads its files (``backend_args``).

    True also where that place cannot be asked: LMDB and memcached give files, and no more.
    """
    backend = get_file_backend(path, backend_args=getattr(base, 'backend_args', None))
    return not hasattr(backend, 'exists') or backend.exists(path)


def unreadable_file(info: dict, error: Exception, backend_args: Optional[dict] = None) -> str:
    """Whether a pipeline failed because a file cannot be read, rather than by its own fault.

    Args:
        info: The sample's annotation entry (``img_path``, ``seg_map_path``, ...).
        error: What the pipeline raised.
        backend_args: As in the data set.

    Returns:
        The path of the file; '' if all files are readable, so that the error is a bug to raise.
    """
    paths = [info[key] for key in _FILE_KEYS if info.get(key)]
    for path in paths:
        try:
            content = get(path, backend_args=backend_args)
            if path.endswith('.npy'):
                np.load(io.BytesIO(content), allow_pickle=False)
            elif mmcv.imfrombytes(content, flag='unchanged') is None:
                return path
        except Exception:  # whatever a decoder raises on a broken file
            return path
    # Another decoder may refuse what cv2 accepts (PIL: truncated files).
    return paths[0] if paths and isinstance(error, OSError) else ''
