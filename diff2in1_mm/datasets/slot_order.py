"""Which synthetic sample fills a slot: all take turns, those of upright images apart from the rest.

MMDetection's ``AspectRatioBatchSampler`` forms batches by the annotated size of a slot's real
image. A sample of the other orientation would pad such a batch to a square, which takes memory that
the warm-up did not need.
"""

from typing import Any

import torch
from torch import Tensor

from ..store.records import SampleRecord
from .wrappers import resolve

__all__ = ['Turns', 'upright_images']


class Turns:
    """The order of a round's samples.

    At its v-th turn the p-th of s slots takes sample ``(p + v * s) % n``. Where slots and samples
    are of both orientations, those of each are counted for themselves.

    Args:
        samples (list[SampleRecord]): Of the round.
        upright (Tensor): Of :func:`upright_images`, for the real images.
        slots (list[int]): The real image of each slot.
    """

    def __init__(self, samples: list[SampleRecord], upright: Tensor, slots: list[int]) -> None:
        self.samples = samples
        kinds = upright[slots].tolist()
        own = [int(upright[sample.source]) for sample in samples]
        if len(set(kinds)) < 2 or len(set(own)) < 2:
            kinds, own = [0] * len(slots), [0] * len(samples)
        self._kinds, self._places, counts = kinds, [], [0, 0]
        for kind in kinds:
            self._places.append(counts[kind])
            counts[kind] += 1
        self._counts = counts
        self._of_kind = [[s for s, kind in zip(samples, own) if kind == k] for k in range(2)]

    def of(self, slot: int, turn: int) -> tuple[int, list[SampleRecord]]:
        """What a slot takes at its turn (any whole number), and what follows should that not do.

        Returns:
            tuple: A number, of which the remainder by their count is the place of the sample, and
            the samples of the slot's orientation.
        """
        kind = self._kinds[slot]
        return self._places[slot] + turn * self._counts[kind], self._of_kind[kind]


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
