"""NYUv2 with surface normals."""
import json
import os.path as osp
from typing import Any, List, Optional

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from .image_folder import find_images
from .subset import draw_subset


@DATASETS.register_module()
class NYUNormalsDataset(BaseSegDataset):
    """NYUv2 (Silberman et al. 2012) in the layout of Bae et al.: 795 training and 654 test images.

    ``data_root/{train,test}/img`` has the photographs, ``.../norm`` the normals as 8-bit RGB pictures
    (-1..1 as 0..255, black where there is none) of the same name.

    Args:
        split (str): 'train' or 'test', the folder. Default 'train'.
        captions (str | None): JSON file below ``data_root``, file name -> caption, for the
            condition ``OwnCaption``. Default None.
        num_labelled (int | None): Number of images drawn from the split; None: all.
        seed (int): Decides which ones (see :func:`draw_subset`).
        data_root (str): Default 'data/nyu_normals'.
        **kwargs: As in ``BaseSegDataset``.

    Raises:
        FileNotFoundError: A folder is missing or empty, or an image has no normals.
        ValueError: ``num_labelled`` is more than there are.
    """

    METAINFO = dict(classes=(), palette=[])

    def __init__(self, split: str = 'train', captions: Optional[str] = None,
                 num_labelled: Optional[int] = None, seed: int = 0,
                 data_root: str = 'data/nyu_normals', **kwargs: Any) -> None:
        self.split, self.captions = split, captions
        self.num_labelled, self.seed = num_labelled, seed
        super().__init__(data_root=data_root, data_prefix=dict(img_path=f'{split}/img'), **kwargs)

    @staticmethod
    def prepare(cfg: dict) -> None:
        """Names a folder that is missing, before anything is built."""
        folder = osp.join(cfg.get('data_root', 'data/nyu_normals'), cfg.get('split', 'train'))
        for name in ('img', 'norm'):
            if not osp.isdir(osp.join(folder, name)):
                raise FileNotFoundError(f'the data folder {osp.join(folder, name)} does not exist: '
                                        'put NYUv2 there in the layout of Bae et al., or set '
                                        '`data_root`')

    def load_data_list(self) -> List[dict]:
        """Entries with ``img_path``, ``normal_map_path`` and perhaps ``caption``."""
        folder = osp.join(self.data_root, self.split)
        captions = {}
        if self.captions is not None:
            with open(osp.join(self.data_root, self.captions), encoding='utf-8') as file:
                captions = json.load(file)
        data = []
        for path in find_images(osp.join(folder, 'img')):
            stem = osp.splitext(osp.relpath(path, osp.join(folder, 'img')))[0]
            normals = osp.join(folder, 'norm', f'{stem}.png')
            if not osp.isfile(normals):
                raise FileNotFoundError(f'{path} has no normals {normals}')
            data.append(dict(img_path=path, normal_map_path=normals, seg_fields=[]))
            if captions:
                data[-1]['caption'] = captions.get(osp.basename(path), '')
        return draw_subset(data, self.num_labelled, self.seed)
