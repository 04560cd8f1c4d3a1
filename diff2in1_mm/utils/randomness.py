"""Random numbers that depend on what they are for, never on what was drawn before.

A sample's noise is a function of (seed, iteration, sample, ...). It is therefore the same after a
resume. What tells samples apart is up to who draws: creation and student views take the sample's id, so
that theirs is also the same on any number of processes and when one sample is made again alone; the
noise of the perception pass in training takes process and row of the batch, as a backbone is not told
ids, and is the same on the same number of processes only.
"""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

SeedPart = int | str


def stable_seed(*parts: SeedPart) -> int:
    """Mix integers and strings into one 63-bit seed, equal on every machine.

    Args:
        parts (int | str): What the random numbers belong to, for example
            ``(run seed, 'perception', iteration, sample)``.

    Returns:
        int: A seed in ``[0, 2**63)``.
    """
    text = '\x1f'.join(f'{type(part).__name__}:{part}' for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big') >> 1


def seeded_generators(*parts: SeedPart, samples: Iterable[SeedPart]) -> list[torch.Generator]:
    """One CPU generator per sample, each seeded by ``(*parts, sample)``.

    CPU generators give the same numbers whatever device the model runs on.

    Args:
        parts (int | str): What all samples share, see :func:`stable_seed`.
        samples (Iterable[int | str]): What tells the samples apart.

    Returns:
        list[torch.Generator]: In the order of ``samples``.
    """
    return [torch.Generator().manual_seed(stable_seed(*parts, sample)) for sample in samples]


def sample_noise(generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Standard normal noise, row ``i`` drawn from ``generators[i]`` alone.

    Args:
        generators (Sequence[torch.Generator]): One CPU generator per row.
        like (Tensor): Gives shape (N, ...), dtype and device.

    Returns:
        Tensor: Noise of the shape, dtype and device of ``like``.
    """
    rows = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(rows).to(like.device, like.dtype, non_blocking=True)


def channel_dropout(maps: Sequence[Tensor], p: float, generators: Sequence[torch.Generator | None]) -> list[Tensor]:
    """Drop whole channels of feature maps, row by row, and scale up the rest.

    Args:
        maps (Sequence[Tensor]): Each of shape (N, C_k, h_k, w_k).
        p (float): Share of channels that is dropped, in [0, 1).
        generators (Sequence[torch.Generator | None]): One CPU generator per row; rows with None
            stay as they are.

    Returns:
        list[Tensor]: New maps of the same shapes.
    """
    channels = [feature.shape[1] for feature in maps]
    keep = torch.ones(len(generators), sum(channels))
    for row, generator in zip(keep, generators):
        if generator is not None:
            row.copy_(torch.rand(row.shape, generator=generator).ge_(p).div_(1 - p))
    masks = keep.to(maps[0].device, non_blocking=True).split(channels, dim=1)
    return [feature * mask[..., None, None].to(feature.dtype) for feature, mask in zip(maps, masks)]
