"""Images encoded once, for all of a training."""

from collections.abc import Callable, Iterator, Sequence

import torch
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from torch import Tensor

from ..datasets.image_folder import ImageFolder
from ..utils.errors import MissingFileError
from ..utils.image_values import to_unit_range


@torch.no_grad()
def encode_images(
    encode: Callable[[Tensor], Tensor], dataset: ImageFolder, places: Sequence[int], mirror: bool, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Latents of images, and of their mirror images.

    Args:
        encode (Callable): Makes latents (n, c, h, w) of images (n, 3, H, W) in [-1, 1] on the CPU.
        dataset (ImageFolder): Where the images come from.
        places (Sequence[int]): Which of them.
        mirror (bool): Also encode their mirror images.
        batch_size (int): Pictures per pass.

    Returns:
        tuple[Tensor, Tensor]: Latents (M, c, h, w) float32 on the CPU, and the image (M,) int64 that
        each belongs to.

    Raises:
        FileNotFoundError: None of the images can be read.
    """
    print_log(f'Encoding {len(places)} images{" and their mirror images" if mirror else ""} once', 'current')
    latents: Tensor | None = None
    index: list[int] = []
    for pictures, owners in _batches(dataset, places, mirror, batch_size):
        found = encode(to_unit_range(pictures))
        if latents is None:  # room for all, as many sets just fit into memory
            latents = torch.empty(len(places) * (2 if mirror else 1), *found.shape[1:])
        latents[len(index) : len(index) + len(owners)] = found.cpu()
        index += owners
    if latents is None:
        raise MissingFileError(f'none of the {len(dataset)} images can be read, the first is {dataset.files[0]}')
    return latents[: len(index)], torch.tensor(index)


def _batches(
    dataset: ImageFolder, places: Sequence[int], mirror: bool, batch_size: int
) -> Iterator[tuple[Tensor, list[int]]]:
    """Readable pictures (n, 3, h, w) uint8, with progress, and the image each belongs to."""
    pictures, owners = [], []
    for place in track_iter_progress(places):
        image = dataset.whole(place)
        if image is None:
            continue
        pictures += [image, image.flip(-1)] if mirror else [image]
        owners += [place] * (2 if mirror else 1)
        if len(pictures) >= batch_size:
            yield torch.stack(pictures), owners
            pictures, owners = [], []
    if pictures:
        yield torch.stack(pictures), owners
