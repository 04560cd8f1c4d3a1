"""Which synthetic sample fills a slot: all take turns, those of upright images apart from the rest.

MMDetection's ``AspectRatioBatchSampler`` forms batches by the annotated size of a slot's real
image. A sample of the other orientation would pad such a batch to a square, which takes memory that
the warm-up did not need.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..store.listing import Records
from .wrappers import resolve

__all__ = ['Turns', 'real_images', 'upright_images']


class Turns:
    """The order of a round's samples.

    At its v-th turn the p-th of s slots takes sample ``(p + v * s) % n``. Where slots and samples
    are of both orientations, those of each are counted for themselves.

    Args:
        samples (Records): Of the round.
        upright (Tensor): Of :func:`upright_images`, for the real images.
        slots (np.ndarray): The real image of each slot, int (slots,).
    """

    def __init__(self, samples: Records, upright: Tensor, slots: np.ndarray) -> None:
        images = upright.numpy()
        kinds, own = images[slots], images[samples.sources]
        self._places, self._kinds = np.arange(len(slots)), np.zeros(len(slots), np.uint8)
        self._counts, self._of_kind = [len(slots), 0], [samples, samples[:0]]
        if len(np.unique(kinds)) == len(np.unique(own)) == 2:
            self._kinds = kinds
            for kind in range(2):
                self._places[kinds == kind] = np.arange((kinds == kind).sum())
            self._counts = [int((kinds == kind).sum()) for kind in range(2)]
            self._of_kind = [samples[np.flatnonzero(own == kind)] for kind in range(2)]

    def of(self, slot: int, turn: int) -> tuple[int, Records]:
        """What a slot takes at its turn (any whole number), and what follows should that not do.

        Returns:
            tuple: A number, of which the remainder by their count is the place of the sample, and
            the samples of the slot's orientation.
        """
        kind = self._kinds[slot]
        return int(self._places[slot]) + turn * self._counts[kind], self._of_kind[kind]


def real_images(indices: np.ndarray, n_real: int, slots: int) -> np.ndarray:
    """The real image of each index of a mix: itself, and for a slot beyond the one that it stands for.

    Args:
        indices (np.ndarray): From 0 to ``n_real + slots - 1``.
        n_real (int): Number of real images.
        slots (int): Number of slots. The last ones, too few for all images, are spread over these.
    """
    rest = slots % n_real
    beyond = indices - (n_real + slots - rest)
    return np.where(beyond < 0, indices % n_real, beyond * n_real // max(rest, 1))


def upright_images(dataset: Any) -> Tensor:
    """Which images are higher than wide, as their annotation entries tell.

    Args:
        dataset: Of MMEngine's kind, in wrappers or not.

    Returns:
        Tensor: uint8 (images,), 1 for those. Only 0 where not every entry has ``width`` and
        ``height`` (MMSegmentation's have not), or a wrapper joins images to others of its own size.
    """
    upright = torch.zeros(len(dataset), dtype=torch.uint8)
    for index in range(len(dataset)):
        mixers, base, local = resolve(dataset, index)
        entry = base.get_data_info(local)
        if mixers or not {'width', 'height'} <= set(entry):
            return torch.zeros_like(upright)
        upright[index] = entry['width'] < entry['height']
    return upright
