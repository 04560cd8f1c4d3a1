"""Images with pictures of their label maps."""

import logging
import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..utils.errors import MissingFileError, UnusableFileError, UserError
from ..utils.metainfo import metainfo_of
from .image_folder import ImageFolder, as_tensor, cover

__all__ = ['LabelledImageFolder', 'colour_table']

Palette = Sequence[Sequence[int]]
_MEND = 'give images.palette=[[r, g, b], ...] with a colour for each class'


@DATASETS.register_module()
class LabelledImageFolder(ImageFolder):
    """Images of a folder, each with the picture that a control branch follows: its label map in the classes' colours.

    Images without a map are left out and counted in the log.

    Args:
        maps (str): Folder of the maps, class indices as one-channel files, which lie in it as the images do in ``path``
            (of a glob: under the images' names alone).
        palette (str | Sequence): Name of a registered data set whose colours are taken, or RGB of each class, 0 to 255.
            The generator shows the colours of the data set that it creates from.
        img_suffix (str | None): What an image's name ends in and its map's does not; None: what follows the last dot.
        seg_map_suffix (str): What a map's name ends in in its place. Default '.png'.
        reduce_zero_label (bool): Maps have 0 for what is no class, and 1 for the first class. Default False.
        **options: Of :class:`ImageFolder`.

    Raises:
        FileNotFoundError: The folder is missing, or holds no map of any image.
        ValueError: ``palette`` is none; see also :class:`ImageFolder`.
    """

    def __init__(
        self,
        *,
        maps: str | None = None,
        palette: str | Palette | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool = False,
        **options: Any,
    ) -> None:
        if maps is None or palette is None:
            raise UserError(
                'a control branch learns from labelled images: set images.maps to the folder of their label maps, and '
                "images.palette to the data set whose colours they are shown in, such as 'CityscapesDataset'"
            )
        super().__init__(**options)
        self.colours = colour_table(metainfo_of(palette, 'palette', _MEND) if isinstance(palette, str) else palette)
        self.reduce_zero_label = reduce_zero_label
        self._checked: set[int] = set()  # whose map was read once
        root = osp.join(options.get('data_root', ''), maps)
        if not osp.isdir(root):
            raise MissingFileError(f'there is no folder of label maps {root!r}: set images.maps')
        images = osp.join(options.get('data_root', ''), options['path'])
        self.maps = [self._map_of(file, images, root, img_suffix, seg_map_suffix) for file in self.files]
        self._leave_out_unlabelled(root)

    @staticmethod
    def _map_of(file: str, images: str, root: str, img_suffix: str | None, seg_map_suffix: str) -> str:
        name = osp.relpath(file, images) if osp.isdir(images) else osp.basename(file)
        stem = osp.splitext(name)[0] if img_suffix is None else name.removesuffix(img_suffix)
        return osp.join(root, stem + seg_map_suffix)

    def _leave_out_unlabelled(self, root: str) -> None:
        there = [osp.isfile(path) for path in self.maps]
        if not any(there):
            raise MissingFileError(
                f'{root!r} holds no label map of any image; that of {self.files[0]!r} would be {self.maps[0]!r}: set '
                'images.maps, images.img_suffix and images.seg_map_suffix'
            )
        if not all(there):
            left = len(there) - sum(there)
            print_log(f'{left} of {len(there)} images have no label map in {root} and are left out', 'current')
        for name in ('files', 'maps', 'captions'):
            setattr(self, name, [value for value, labelled in zip(getattr(self, name), there) if labelled])
        self._bad = self._bad[: len(self.files)]

    def __getitem__(self, index: int) -> dict:
        """One sample.

        Returns:
            dict: As of :class:`ImageFolder`, and ``pictures``, uint8 RGB (3, h, w).
        """
        image, index = self._readable(index)
        view = self._view()
        picture = view(self._coloured(index), nearest=True)
        return dict(
            inputs=as_tensor(view(image)), pictures=as_tensor(picture), caption=self.captions[index], index=index
        )

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
            size = self._labels(index).shape
        except UnusableFileError as error:
            self._bad[index] = 1
            print_log(f'Skipping {self.files[index]}: {error}', 'current', logging.WARNING)
            return None
        if size != image.shape[:2]:
            raise UserError(
                f'{self.maps[index]} has {size[1]} x {size[0]} pixels, but its image {self.files[index]} '
                f'{image.shape[1]} x {image.shape[0]}: give label maps of the size of the images'
            )
        self._checked.add(index)
        return image

    def _labels(self, index: int) -> np.ndarray:
        """Class indices (H, W), as the file holds them."""
        try:
            labels = mmcv.imread(self.maps[index], flag='unchanged', backend='pillow')
        except (OSError, cv2.error, SyntaxError) as error:
            raise UnusableFileError(f'{self.maps[index]} cannot be read as a label map: copy it again') from error
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise UnusableFileError(f'{self.maps[index]} is no label map: give one-channel files of class indices')
        return labels

    def _coloured(self, index: int) -> np.ndarray:
        labels = self._labels(index)
        return self.colours[labels - 1 if self.reduce_zero_label else labels]  # 0 becomes 255, which is no class


def colour_table(palette: Palette) -> np.ndarray:
    """Colour of each label that a map can hold.

    Args:
        palette (Sequence): RGB of each class, 0 to 255.

    Returns:
        ndarray: uint8 (256, 3); black for what is no class.

    Raises:
        ValueError: It is no list of colours.
    """
    table = np.asarray(palette)
    fits = table.ndim == 2 and 0 < len(table) <= 255 and table.shape[1] == 3
    if not (fits and np.issubdtype(table.dtype, np.integer) and table.min() >= 0 and table.max() <= 255):
        raise UserError(f'palette = {palette!r} must be [[r, g, b], ...] with a colour of 0 to 255 for each class')
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(table)] = table
    return colours
