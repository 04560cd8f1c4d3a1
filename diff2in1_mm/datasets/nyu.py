"""NYUv2 with surface normals."""

import os.path as osp
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from ..diffusion.conditions.prompts import Captions
from ..diffusion.conditions.source import Source
from ..utils.errors import MissingFileError
from .image_folder import find_images
from .subset import draw_subset


@DATASETS.register_module()
class NYUNormalsDataset(BaseSegDataset):
    """NYUv2 (Silberman et al. 2012) in the layout of Bae et al.: 795 training and 654 test images.

    ``data_root/{train,test}/img`` has the photographs, ``.../norm`` the normals as 8-bit RGB
    pictures (-1..1 as 0..255, black where there is none) of the same name.

    Args:
        split (str): 'train' or 'test', the folder. Default 'train'.
        captions (str | None): For the condition ``OwnCaption``: a folder of ``NAME.txt`` beside
            ``img`` (the released code's is 'caption'), or a ``.json`` or ``.jsonl`` file below
            ``data_root``, see :class:`diff2in1_mm.diffusion.Captions`. Default None: no captions.
        num_labelled (int | None): Number of images drawn from the split; None: all.
        seed (int): Decides which ones (see :func:`draw_subset`).
        data_root (str): Default 'data/nyu_normals'.
        **kwargs: As in ``BaseSegDataset``.

    Raises:
        FileNotFoundError: A folder is missing or empty, or an image has no normals.
        ValueError: ``num_labelled`` is more than there are; an image has no caption.
    """

    METAINFO: dict = dict(classes=(), palette=[])

    def __init__(
        self,
        split: str = 'train',
        captions: str | None = None,
        num_labelled: int | None = None,
        seed: int = 0,
        data_root: str = 'data/nyu_normals',
        **kwargs: Any,
    ) -> None:
        self.split, self.captions = split, captions
        self.num_labelled, self.seed = num_labelled, seed
        super().__init__(data_root=data_root, data_prefix=dict(img_path=f'{split}/img'), **kwargs)

    @staticmethod
    def prepare(cfg: dict) -> None:
        """Names what is missing before anything is built."""
        root, split = cfg.get('data_root', 'data/nyu_normals'), cfg.get('split', 'train')
        for name in ('img', 'norm'):
            folder = osp.join(root, split, name)
            if not osp.isdir(folder):
                raise MissingFileError(
                    f'the data folder {folder} does not exist: put NYUv2 there '
                    'in the layout of Bae et al., or set `data_root`'
                )
        captions = _captions_path(root, split, cfg.get('captions'))
        if captions is not None and not osp.exists(captions):
            raise MissingFileError(
                f'the captions {captions} do not exist: put them there, or set '
                '`captions` to None and take another condition than OwnCaption'
            )

    def load_data_list(self) -> list[dict]:
        """Entries with ``img_path``, ``normal_map_path`` and perhaps ``caption``."""
        folder = osp.join(self.data_root, self.split)
        path = _captions_path(self.data_root, self.split, self.captions)
        captions = None if path is None else Captions(path)
        data = []
        for path in find_images(osp.join(folder, 'img'), 'put the photographs there, or set `data_root`'):
            stem = osp.splitext(osp.relpath(path, osp.join(folder, 'img')))[0]
            normals = osp.join(folder, 'norm', f'{stem}.png')
            if not osp.isfile(normals):
                raise MissingFileError(f'{path} has no normals {normals}: complete the folder, or take the image out')
            data.append(dict(img_path=path, normal_map_path=normals, seg_fields=[]))
            if captions is not None:
                data[-1]['caption'] = captions.text(Source(path))
        return draw_subset(data, self.num_labelled, self.seed)


def _captions_path(root: str, split: str, captions: str | None) -> str | None:
    """A file is below the data set's folder, a folder below the split's."""
    if captions is None:
        return None
    is_file = captions.endswith(('.json', '.jsonl'))
    return osp.join(root, captions) if is_file else osp.join(root, split, captions)
