"""Rooms for MMDetection."""

from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS

from .furniture import THINGS
from .on_disk import PALETTE, RoomsOnDisk


@DATASETS.register_module()
class RoomsDetDataset(RoomsOnDisk, CocoDataset):
    """Rooms with boxes and masks of the objects. Options: :class:`RoomsOnDisk`."""

    METAINFO = dict(classes=THINGS, palette=list(PALETTE[3:]))

    @staticmethod
    def places(split: str) -> dict:
        return dict(ann_file=f'instances_{split}.json', data_prefix=dict(img=f'images/{split}'))
