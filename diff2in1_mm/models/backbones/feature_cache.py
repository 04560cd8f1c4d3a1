"""Frozen features of images that come again, kept in memory."""

import hashlib
import logging
from collections.abc import Callable

import torch
from mmengine.logging import print_log
from torch import Tensor

from ...utils.kept import Kept

Maps = tuple[Tensor, ...]
_ENOUGH = 1000  # images, after which a cache that pays has found some again


class FeatureCache:
    """Least-recently-used cache from the pixels of an image to its feature maps.

    Pays where few images come often and unchanged or only flipped: small sets of labels, heads
    compared on the same features. Reading the pixels waits for the device, and the maps stay on the
    CPU, so it is meant for CPU runs and slow backbones.

    Args:
        max_images (int): Images that are kept; Stable Diffusion's decoder maps of a 512x512 image
            take 9.5 MB in float32.
    """

    def __init__(self, max_images: int) -> None:
        self.max_images = max_images
        self._maps = Kept(max_images)
        self._asked = self._made = 0

    def __deepcopy__(self, memo: dict) -> 'FeatureCache':
        """Shared, as the frozen model is whose maps these are, see :class:`LatentDiffusion`."""
        return self

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, images: Tensor, compute: Callable[[Tensor], Maps]) -> Maps:
        """Maps of a batch, computing only those of images not seen before.

        Args:
            images (Tensor): Shape (N, 3, H, W).
            compute (Callable): From images (n, 3, H, W) to maps, each (n, C_k, h_k, w_k).

        Returns:
            tuple[Tensor]: Maps (N, C_k, h_k, w_k) on the device of ``images``.
        """
        keys = [pixel_key(image) for image in images]

        def make(missing: list[str]) -> list[Maps]:
            made = [feature.cpu() for feature in compute(images[[keys.index(key) for key in missing]])]
            self._made += len(missing)
            # Copies, so that a kept row does not keep its whole batch.
            return [tuple(feature[i].clone() for feature in made) for i in range(len(missing))]

        rows = self._maps.get(keys, make)
        self._tell(len(images))
        return tuple(torch.stack(feature).to(images.device) for feature in zip(*rows))

    def _tell(self, images: int) -> None:
        """Once, that nothing comes again."""
        before, self._asked = self._asked, self._asked + images
        if before < _ENOUGH <= self._asked and self._asked - self._made < _ENOUGH // 100:
            print_log(
                f'cached_images found {self._asked - self._made} of the first {self._asked} images again: where that '
                'is not the first pass over the data, the pipeline draws new views every time, or there are more '
                'images than it keeps; set cached_images=0, or keep views on disk by feature_cache.',
                'current',
                level=logging.WARNING,
            )


def pixel_key(image: Tensor) -> str:
    """What tells an image (3, H, W) from others: a hash of its pixels, hexadecimal."""
    pixels = image.detach().cpu().contiguous()
    digest = hashlib.blake2b(repr((tuple(pixels.shape), pixels.dtype)).encode(), digest_size=16)
    digest.update(pixels.view(torch.uint8).numpy().data)
    return digest.hexdigest()
