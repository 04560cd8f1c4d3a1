"""Rooms for MMSegmentation."""

import os.path as osp

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from .furniture import CLASSES
from .on_disk import PALETTE, RoomsOnDisk


@DATASETS.register_module()
class RoomsDataset(RoomsOnDisk, BaseSegDataset):
    """Rooms with label maps; every sample also names its depth and normals files.

    A sample has ``seg_map_path``, ``depth_map_path`` (uint16 millimetres) and ``normal_map_path``
    (16-bit RGB, see :func:`make_rooms`). Options: :class:`RoomsOnDisk`.
    """

    METAINFO = dict(classes=CLASSES, palette=[list(colour) for colour in PALETTE])

    @staticmethod
    def places(split: str) -> dict:
        return dict(
            img_suffix='.png',
            seg_map_suffix='.png',
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
        )

    def load_data_list(self) -> list[dict]:
        """All rooms of the split, or the part that is drawn."""
        data = super().load_data_list()
        for info in data:
            name = osp.basename(info['img_path'])
            info['depth_map_path'] = osp.join(self.data_root, 'depth', self.split, name)
            info['normal_map_path'] = osp.join(self.data_root, 'normals', self.split, name)
        return data
