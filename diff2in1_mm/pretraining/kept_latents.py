"""Latents that were encoded once and kept."""

from collections.abc import Sequence

import torch
from mmengine.registry import DATASETS
from torch.utils.data import Dataset


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
