"""Latents that were encoded once and kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..datasets.labelled_folder import LabelledImageFolder


@DATASETS.register_module()
class KeptLatents(Dataset):
    """Latents of images and their mirror images, read from one safetensors file.

    Args:
        path (str): File with ``latents`` (M, c, h, w), scaled, and ``index`` (M,), the image that
            each belongs to.
        captions (Sequence[str]): One per image; '' where there is none.
    """

    metainfo: dict = {}  # what MMEngine asks every data set for

    def __init__(self, path: str, captions: Sequence[str]) -> None:
        from safetensors.torch import load_file

        tensors = load_file(path)
        self.latents, self.index = tensors['latents'], tensors['index'].tolist()
        self.captions = list(captions)

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> dict:
        """``latents`` float32 (c, h, w), ``caption`` str and ``index`` int of its image."""
        image = self.index[index]
        return dict(latents=self.latents[index].to(torch.float32), caption=self.captions[image], index=image)


@DATASETS.register_module()
class LabelledLatents(KeptLatents):
    """Kept latents, and the picture of each image's label map, mirrored where the image was.

    Args:
        path (str): See :class:`KeptLatents`; a mirror image follows its image.
        captions (Sequence[str]): One per image.
        images (Mapping): Options of the :class:`LabelledImageFolder` whose images were encoded.
    """

    def __init__(self, path: str, captions: Sequence[str], images: Mapping[str, Any]) -> None:
        super().__init__(path, captions)
        self.images = LabelledImageFolder(**images)

    def __getitem__(self, index: int) -> dict:
        """As of :class:`KeptLatents`, and ``pictures``, uint8 RGB (3, H, W)."""
        sample = super().__getitem__(index)
        picture = self.images.picture(sample['index'])
        mirrored = index > 0 and self.index[index - 1] == sample['index']
        return dict(sample, pictures=picture.flip(-1) if mirrored else picture)
