"""Rooms for MMSegmentation."""

import os.path as osp

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from .furniture import CLASSES, THINGS
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


@DATASETS.register_module()
class RoomsMultiTaskDataset(RoomsDataset):
    """Rooms with everything the renderer knows of a pixel: label map, depth, normals, boundaries and saliency.

    A sample of :class:`RoomsDataset` with ``boundary_map_path`` (255 on either side of an edge between
    objects or surfaces) and ``saliency_map_path``: the label map, whose things stand out of the room
    (``saliency_from``, the first of their values). Options: :class:`RoomsOnDisk`.
    """

    def load_data_list(self) -> list[dict]:
        """All rooms of the split, or the part that is drawn."""
        data = super().load_data_list()
        for info in data:
            info['boundary_map_path'] = osp.join(
                self.data_root, 'boundaries', self.split, osp.basename(info['img_path'])
            )
            info.update(saliency_map_path=info['seg_map_path'], saliency_from=len(CLASSES) - len(THINGS))
        return data
