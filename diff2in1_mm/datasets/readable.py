"""The next sample in place of one that cannot be read."""

import io
import os.path as osp
from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import get, get_file_backend

from ..diffusion.conditions.path_table import IMAGE_SUFFIXES
from ..utils.errors import UserError

__all__ = [
    'FILE_KEYS',
    'NoSample',
    'ReadableView',
    'file_exists',
    'load_or_skip',
    'replaces_unreadable',
    'unreadable_file',
]

_MAX_FAILURES = 50  # in a row; then it is not one file that is broken


class NoSample(Exception):
    """An index gives no sample.

    Args:
        path: Of the file that cannot be read; '' where the pipeline filtered the sample out.
    """

    def __init__(self, path: str = '') -> None:
        super().__init__(path)
        self.path = path


class ReadableView:
    """Samples as a data set, in which the next one takes the place of one that is not there.

    Mixing wrappers (Mosaic, MixUp) draw their other images from it, so that a broken file is met
    where it is known which one it is.

    Args:
        kind: Of the samples, for the error: 'real' or 'synthetic'.
        load: Sample of an index; None or :class:`NoSample` where there is none.
        length: Number of samples.
        first: Index that nothing replaces: a mixing wrapper's result counts as the sample of its
            first image. :class:`NoSample` is raised instead.
        dataset: Where attributes come from that transforms ask a data set for, such as ``metainfo``
            or ``get_cat_ids``.
    """

    def __init__(
        self, kind: str, load: Callable[[int], dict | None], length: int, first: int | None = None, dataset: Any = None
    ) -> None:
        self._kind, self._load, self._length = kind, load, length
        self._first, self._dataset = first, dataset

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, name: str) -> Any:
        dataset = self.__dict__.get('_dataset')
        if dataset is None:
            raise AttributeError(f'{type(self).__name__} has no attribute {name!r}')
        return getattr(dataset, name)

    def __getitem__(self, index: int) -> dict:
        """The sample, or the next one that is there.

        Raises:
            NoSample: It is the ``first`` and not there.
            RuntimeError: See :meth:`read`.
        """
        if index == self._first:
            results = self._load(index)
            if results is None:
                raise NoSample
            return results
        return self.read(index)[1]

    def read(self, index: int) -> tuple[int, dict]:
        """The sample that stands for an index, with its own index.

        Args:
            index: Any whole number; MMCV's transforms draw the index ``len(dataset)`` too.

        Raises:
            RuntimeError: None of many in a row is there.
        """
        tries = min(self._length, _MAX_FAILURES)
        failed: list[str] = []
        for i in ((index + k) % self._length for k in range(tries)):
            try:
                results = self._load(i)
            except NoSample as missing:
                failed += [missing.path] if missing.path else []
                continue
            if results is not None:
                return i, results
        what = f'could be read (the last file: {failed[-1]})' if failed else 'came out of the pipeline'
        raise RuntimeError(f'none of {tries} {self._kind} samples in a row {what}: check the files and the pipeline.')


#: Keys of an annotation entry under which the paths of a sample's files are.
FILE_KEYS = (
    'img_path',
    'seg_map_path',
    'depth_map_path',
    'normal_map_path',
    'part_map_path',
    'boundary_map_path',
    'saliency_map_path',
)


def replaces_unreadable(dataset: Any) -> bool:
    """Whether a data set names files that it cannot read, counts them, and goes on."""
    return hasattr(dataset, 'unreadable')


def load_or_skip(load: Callable[[dict], Any], info: dict, files: dict, base: BaseDataset, skip: bool) -> Any:
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
        raise UserError(
            f'{path} cannot be read ({type(error).__name__}: {error}): repair the file, or take it out of the data set.'
        ) from error


def file_exists(path: str, base: BaseDataset) -> bool:
    """Whether a file is where a data set reads its files (``backend_args``).

    True also where that place cannot be asked: LMDB and memcached give files, and no more.
    """
    backend = get_file_backend(path, backend_args=getattr(base, 'backend_args', None))
    return not hasattr(backend, 'exists') or backend.exists(path)


def unreadable_file(info: dict, error: Exception, backend_args: dict | None = None) -> str:
    """Whether a pipeline failed because a file cannot be read, rather than by its own fault.

    Args:
        info: The sample's annotation entry (``img_path``, ``seg_map_path``, ...).
        error: What the pipeline raised.
        backend_args: As in the data set.

    Returns:
        The path of the file; '' if all files are readable, so that the error is a bug to raise.
    """
    paths = [info[key] for key in FILE_KEYS if info.get(key)]
    for path in paths:
        try:
            if not _opens(path, get(path, backend_args=backend_args)):
                return path
        except Exception:  # whatever a decoder raises on a broken file
            return path
    # Another decoder may refuse what cv2 accepts (PIL: truncated files).
    return paths[0] if paths and isinstance(error, OSError) else ''


def _opens(path: str, content: bytes) -> bool:
    """Whether a file is whole, as far as its ending says what it is; may raise whatever a decoder does."""
    ending = osp.splitext(path)[1].lower()
    if ending == '.npy':
        np.load(io.BytesIO(content), allow_pickle=False)
    elif ending == '.mat':
        from scipy.io import loadmat  # not needed but for these files

        loadmat(io.BytesIO(content))
    elif ending in ('', *IMAGE_SUFFIXES):
        return mmcv.imfrombytes(content, flag='unchanged') is not None
    return True
