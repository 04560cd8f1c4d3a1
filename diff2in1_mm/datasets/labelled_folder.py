"""Images with pictures of their label maps."""

import logging
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..tasks.label_values import loaded_labels
from ..utils.errors import MissingFileError, UnusableFileError, UserError
from ..utils.metainfo import metainfo_of, option_of
from .image_folder import ImageFolder, as_tensor, cover

__all__ = ['LabelledImageFolder', 'colour_table']

Palette = Sequence[Sequence[int]]
_MEND = 'give images.palette=[[r, g, b], ...] with a colour for each class'


@DATASETS.register_module()
class LabelledImageFolder(ImageFolder):
    """Images of a folder, each with the picture that a control branch follows: its label map in the classes' colours.

    Images without a map, and files that are maps themselves, are left out and counted in the log.

    Args:
        maps (str): Folder of the maps, class indices as one-channel files, which lie in it as the images do in ``path``
            (of a glob: under the images' names alone).
        palette (str | Sequence): Name of a registered data set whose colours are taken, or RGB of each class, 0 to 255.
            The generator shows the colours of the data set that it creates from.
        img_suffix (str | None): What an image's name ends in and its map's does not; None: what follows the last dot.
        seg_map_suffix (str): What a map's name ends in in its place. Default '.png'.
        reduce_zero_label (bool | None): Maps have 0 for what is no class, and 1 for the first class. None: as
            the data set named in ``palette`` has it, else False.
        limit (int | None): Use only the first so many images. Default None.
        **options: Of :class:`ImageFolder`.

    Raises:
        FileNotFoundError: The folder is missing, or holds no map of any image.
        ValueError: ``palette`` is none, or several images would have the same map; while reading, a map of another
            size than its image, of colours, or with labels beyond the palette. See also :class:`ImageFolder`.
    """

    def __init__(
        self,
        *,
        maps: str | None = None,
        palette: str | Palette | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        if maps is None or palette is None:
            raise UserError(
                'a control branch learns from labelled images: set images.maps to the folder of their label maps, and '
                "images.palette to the data set whose colours they are shown in, such as 'CityscapesDataset'"
            )
        super().__init__(**options)
        colours = metainfo_of(palette, 'palette', _MEND) if isinstance(palette, str) else palette
        self.colours, self.classes = colour_table(colours, 'images.palette'), len(colours)
        if reduce_zero_label is None:
            reduce_zero_label = isinstance(palette, str) and option_of(palette, 'reduce_zero_label', False)
        self.reduced = loaded_labels(bool(reduce_zero_label))
        root = osp.join(options.get('data_root', ''), maps)
        if not osp.isdir(root):
            raise MissingFileError(f'there is no folder of label maps {root!r}: set images.maps')
        images = osp.join(options.get('data_root', ''), options['path'])
        self.maps = [self._map_of(file, images, root, img_suffix, seg_map_suffix) for file in self.files]
        self._keep_labelled(root, limit)
        self._checked: set[int] = set()  # whose map was read once

    @staticmethod
    def _map_of(file: str, images: str, root: str, img_suffix: str | None, seg_map_suffix: str) -> str:
        name = osp.relpath(file, images) if osp.isdir(images) else osp.basename(file)
        stem = osp.splitext(name)[0] if img_suffix is None else name.removesuffix(img_suffix)
        return osp.normpath(osp.join(root, stem + seg_map_suffix))

    def _keep_labelled(self, root: str, limit: int | None) -> None:
        """Leave out what has no map, or is one."""
        known = set(self.maps)
        there = [osp.isfile(path) and osp.normpath(file) not in known for file, path in zip(self.files, self.maps)]
        if not any(there):
            raise MissingFileError(
                f'{root!r} holds no label map of any image; that of {self.files[0]!r} would be {self.maps[0]!r}: set '
                'images.maps, images.img_suffix and images.seg_map_suffix'
            )
        if not all(there):
            left = len(there) - sum(there)
            print_log(f'{left} of {len(there)} images have no label map in {root} and are left out', 'current')
        for name in ('files', 'maps', 'captions'):
            setattr(self, name, [value for value, labelled in zip(getattr(self, name), there) if labelled][:limit])
        self._bad = self._bad[: len(self.files)]
        (path, number), *_ = Counter(self.maps).most_common(1)
        if number > 1:
            raise UserError(
                f'{number} images have the label map {path}: give images.path a folder, in which they and their maps '
                'lie alike, or other names'
            )

    def __getitem__(self, index: int) -> dict:
        """One sample.

        Returns:
            dict: As of :class:`ImageFolder`, and ``pictures``, uint8 RGB (3, h, w).
        """
        image, index = self._readable(index)
        view = self._view()
        pictures = as_tensor(view(self._coloured(index), nearest=True))
        return dict(inputs=as_tensor(view(image)), pictures=pictures, caption=self.captions[index], index=index)

    def picture(self, index: int) -> torch.Tensor:
        """The label map of one file without random changes, in colours, uint8 RGB (3, *size)."""
        return as_tensor(cover(self._coloured(index), self.size, nearest=True))

    def shown(self, index: int) -> dict[str, torch.Tensor] | None:
        """As of :class:`ImageFolder`, and ``pictures``."""
        found = super().shown(index)
        return found and dict(found, pictures=self.picture(index))

    def _read(self, index: int) -> np.ndarray | None:
        """An image whose map can be read, too."""
        image = super()._read(index)
        if image is None or index in self._checked:
            return image
        try:
            labels = self._labels(index)
        except UnusableFileError as error:
            self._bad[index] = 1
            print_log(f'Skipping {self.files[index]}: {error}', 'current', logging.WARNING)
            return None
        if labels.shape != image.shape[:2]:
            raise UserError(
                f'{self.maps[index]} has {labels.shape[1]} x {labels.shape[0]} pixels, but its image '
                f'{self.files[index]} {image.shape[1]} x {image.shape[0]}: give label maps of the size of the images'
            )
        beyond = labels[(labels >= self.classes) & (labels != 255)]
        if beyond.size:
            raise UserError(
                f'{self.maps[index]} holds label {beyond.max()}, but images.palette has {self.classes} colours: give '
                'maps of class indices (255 for what is no class), or the palette of their data set'
            )
        self._checked.add(index)
        return image

    def _labels(self, index: int) -> np.ndarray:
        """Class indices (H, W), 255 for what is none."""
        try:
            labels = mmcv.imread(self.maps[index], flag='unchanged', backend='pillow')
        except (OSError, cv2.error, SyntaxError) as error:
            raise UnusableFileError(f'{self.maps[index]} cannot be read as a label map: copy it again') from error
        if labels is None:
            raise UnusableFileError(f'{self.maps[index]} cannot be read as a label map: copy it again')
        if labels.ndim != 2 or labels.max(initial=0) > 255:
            raise UserError(
                f'{self.maps[index]} is no label map (shape {labels.shape}, up to {labels.max(initial=0)}): give '
                'one-channel files of class indices, 255 for what is no class'
            )
        return self.reduced[labels.astype(np.uint8)]

    def _coloured(self, index: int) -> np.ndarray:
        return self.colours[self._labels(index)]


def colour_table(palette: Palette, setting: str) -> np.ndarray:
    """Colour of each label that a map can hold.

    Args:
        palette (Sequence): RGB of each class, 0 to 255.
        setting (str): What a config calls it, for the message.

    Returns:
        ndarray: uint8 (256, 3); black for what is no class.

    Raises:
        ValueError: It is no list of colours.
    """
    try:
        table = np.asarray(palette)
    except ValueError:  # of different lengths
        table = np.asarray(())
    fits = table.ndim == 2 and 0 < len(table) <= 255 and table.shape[1] == 3
    if not (fits and np.issubdtype(table.dtype, np.integer) and table.min() >= 0 and table.max() <= 255):
        raise UserError(f'{setting} = {palette!r} must be [[r, g, b], ...] with a colour of 0 to 255 for each class')
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(table)] = table
    return colours
