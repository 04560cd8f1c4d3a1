"""Unlabelled images, with captions where there are some."""

import glob
import json
import logging
import os.path as osp
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..diffusion.conditions.caption_files import caption_table
from ..diffusion.conditions.path_table import IMAGE_SUFFIXES
from ..utils.errors import MissingFileError, UnusableFileError, UserError, first_line


@DATASETS.register_module()
class ImageFolder(Dataset):
    """Images of a folder or a glob, resized and cropped, as uint8 tensors.

    An image that cannot be read is named once, counted in :attr:`skipped` (also over worker
    processes), and the next readable one takes its place.

    Args:
        path (str): A folder (searched recursively) or a glob such as ``'photos/*.jpg'``.
        size (tuple[int, int]): Height and width, in pixels. Each image is scaled to cover it.
        crop (tuple[int, int] | None): Height and width of a random crop taken out of the scaled
            image. None cuts the middle of ``size``. Default None.
        flip (float): Probability of a mirror image. Default 0.
        scale (tuple[float, float]): Random enlargement before cropping, at least 1. Default (1, 1).
        captions (str | None): A file as :func:`caption_table` takes it (``.json``, ``.jsonl``),
            or ``'sidecar'`` for a ``.txt`` file beside each image. None means empty captions.
            Default None.
        data_root (str): Prefix of a relative ``path`` and ``captions``. Default ''.
        limit (int | None): Use only the first so many files. Default None.
        ann_file (str | None): COCO file; only images that it lists are used, such as those of a
            training split. Default None.

    Raises:
        FileNotFoundError: The folder is missing or holds no image; the captions file is missing.
        ValueError: Sizes that do not fit, or a captions file that cannot be understood.
    """

    metainfo: dict = {}  # what MMEngine asks every data set for

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        crop: tuple[int, int] | None = None,
        flip: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        captions: str | None = None,
        data_root: str = '',
        limit: int | None = None,
        ann_file: str | None = None,
    ) -> None:
        self.size, self.flip, self.scale = (size[0], size[1]), flip, tuple(scale)
        self.crop = None if crop is None else tuple(crop)
        if self.crop and any(c > s for c, s in zip(self.crop, self.size)):
            raise UserError(f'crop {self.crop} is larger than size {self.size}: make it smaller')
        if self.scale[0] < 1 or self.scale[1] < self.scale[0]:
            raise UserError(f'scale {self.scale} must be (low, high) with 1 <= low <= high')
        files = find_images(
            osp.join(data_root, path),
            'set data_root and images.path, for example --cfg-options data_root=/path/to/images',
        )
        if ann_file is not None:
            files = listed(files, osp.join(data_root, ann_file))
        self.files = files[:limit]
        if captions is not None and captions != 'sidecar':
            captions = osp.join(data_root, captions)
        self.captions = read_captions(captions, self.files)
        # shared memory: workers add to one count
        self._bad = torch.zeros(len(self.files), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def skipped(self) -> list[str]:
        """list[str]: Files that could not be read so far."""
        return [self.files[i] for i in self._bad.nonzero().flatten().tolist()]

    def __getitem__(self, index: int) -> dict:
        """One sample.

        Returns:
            dict: ``inputs`` uint8 RGB (3, h, w), ``caption`` str, ``index`` int of the file that
            was read.
        """
        image, index = self._readable(index)
        return dict(inputs=as_tensor(self._view()(image)), caption=self.captions[index], index=index)

    def whole(self, index: int) -> torch.Tensor | None:
        """The image of one file without random changes.

        Returns:
            Tensor | None: uint8 RGB, shape (3, *size); None if it cannot be read.
        """
        image = self._read(index)
        return None if image is None else as_tensor(cover(image, self.size))

    def shown(self, index: int) -> dict[str, torch.Tensor] | None:
        """What a picture of samples shows of one file: ``images``, see :meth:`whole`; None if it cannot be read."""
        image = self.whole(index)
        return None if image is None else dict(images=image)

    def _readable(self, index: int) -> tuple[np.ndarray, int]:
        for step in range(len(self.files)):
            candidate = (index + step) % len(self.files)
            image = self._read(candidate)
            if image is not None:
                return image, candidate
        raise MissingFileError(f'none of the {len(self.files)} images can be read, the first is {self.files[0]}')

    def _read(self, index: int) -> np.ndarray | None:
        """RGB uint8 (H, W, 3), or None for a file that cannot be read."""
        if self._bad[index]:
            return None
        try:
            image = mmcv.imread(self.files[index], channel_order='rgb', backend='cv2')
        except (OSError, cv2.error):
            image = None
        if image is None:
            self._bad[index] = 1
            print_log(
                f'Skipping {self.files[index]}: it cannot be read as an image '
                f'({int(self._bad.sum())} of {len(self.files)} so far)',
                'current',
                logging.WARNING,
            )
        return image

    def _view(self) -> Callable[..., np.ndarray]:
        """A random enlargement, crop and mirroring, for an image (H, W, 3) and what belongs to it."""
        factor = np.random.uniform(self.scale[0], self.scale[1])
        size = round(self.size[0] * factor), round(self.size[1] * factor)
        height, width = self.crop or self.size
        top, left = (
            (np.random.randint(size[0] - height + 1), np.random.randint(size[1] - width + 1))
            if self.crop or factor > 1
            else (0, 0)
        )
        mirrored = np.random.rand() < self.flip

        def view(image: np.ndarray, **options) -> np.ndarray:
            image = cover(image, size, **options)[top : top + height, left : left + width]
            return image[:, ::-1] if mirrored else image

        return view


def listed(files: Sequence[str], ann_file: str) -> list[str]:
    """Those of ``files`` that the ``images`` of a COCO file name (by the ends of their paths).

    Raises:
        FileNotFoundError: The file is missing, or none of its images is among the files.
        ValueError: It is no COCO file.
    """
    if not osp.isfile(ann_file):
        raise MissingFileError(f'{ann_file} does not exist: correct images.ann_file')
    try:
        names = [image['file_name'] for image in json.loads(Path(ann_file).read_text(encoding='utf-8-sig'))['images']]
    except (KeyError, TypeError) as error:
        raise UserError(f'{ann_file} is no COCO file: it has no `images` with `file_name`') from error
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableFileError(f'{ann_file} cannot be read as JSON ({first_line(error)}): copy it again') from error
    by_name: dict[str, list[str]] = {}
    for file in files:
        by_name.setdefault(osp.basename(file), []).append(file)
    found = [
        file
        for name in names
        for file in by_name.get(osp.basename(name), [])
        if f'/{file}'.endswith(f'/{name.removeprefix("/")}')
    ]
    if not found:
        raise MissingFileError(
            f'none of the images that {ann_file} lists is in the folder: correct images.path or images.ann_file'
        )
    return sorted(set(found))


def cover(image: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """Scale an image (H, W, 3) until it covers ``size``, and cut out the middle.

    Args:
        image (ndarray): uint8.
        size (tuple[int, int]): Height and width.
        nearest (bool): Mix no values, for colours that stand for classes. Default False.
    """
    (height, width), (rows, cols) = image.shape[:2], size
    factor = max(rows / height, cols / width)
    new = max(round(width * factor), cols), max(round(height * factor), rows)
    if new != (width, height):
        smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, new, interpolation=cv2.INTER_NEAREST if nearest else smooth)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return image[top : top + rows, left : left + cols]


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """An image (H, W, C) as a tensor (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def find_images(path: str, mend: str) -> list[str]:
    """Sorted image files of a folder (recursively) or a glob.

    Args:
        path (str): The folder or glob.
        mend (str): What to do where there are none, the end of the sentence.

    Raises:
        FileNotFoundError: There is no such folder, or it holds no image.
    """
    if osp.isdir(path):
        pattern = osp.join(glob.escape(path), '**', '*')
    elif glob.has_magic(path):
        pattern = path
    else:
        raise MissingFileError(f'there is no image folder {path!r}: {mend}')
    files = sorted(f for f in glob.glob(pattern, recursive=True) if f.lower().endswith(IMAGE_SUFFIXES))
    if not files:
        raise MissingFileError(f'{path!r} holds no image ({", ".join(IMAGE_SUFFIXES)}): {mend}')
    return files


def read_captions(source: str | None, files: Sequence[str]) -> list[str]:
    """A caption for each file, '' where there is none.

    Args:
        source (str | None): See :class:`ImageFolder`.
        files (Sequence[str]): Image files.

    Raises:
        FileNotFoundError: The captions file is missing.
        ValueError: It cannot be understood, says different things of one image, or none of its
            names is among the images.
    """
    if source is None:
        return [''] * len(files)
    if source == 'sidecar':
        texts = [_sidecar(osp.splitext(file)[0] + '.txt') for file in files]
        if not any(texts):
            raise UserError('captions="sidecar", but no image has a .txt file beside it')
        return texts
    if not osp.isfile(source):
        raise MissingFileError(f'there is no captions file {source!r}')
    table = caption_table(source)
    texts = [table.find(file) or '' for file in files]
    if not any(texts):
        raise UserError(
            f'{source} names none of the images; the first image is {files[0]!r} '
            '(where names carry folders, the paths of the images must end in them)'
        )
    return texts


def _sidecar(path: str) -> str:
    if not osp.isfile(path):
        return ''
    try:
        with open(path, encoding='utf-8-sig') as file:
            return ' '.join(file.read().split())
    except UnicodeDecodeError as error:
        raise UnusableFileError(f'{path} is no UTF-8 text ({error.reason}): save it as UTF-8') from error
