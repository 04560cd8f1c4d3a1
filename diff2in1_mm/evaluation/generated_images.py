"""How good generated images are: distances between sets, and diversity against their sources."""

import importlib.util
import inspect
import os.path as osp
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from ..models.backbones.diffusion_backbone import DiffusionBackbone
from ..utils.errors import MissingFileError, NotInstalledError, UserError
from ..utils.image_values import to_unit_range

__all__ = ['DiffusionFeatures', 'check_torchmetrics', 'distances', 'diversity', 'inception_features']


class DiffusionFeatures(nn.Module):
    """An image as one vector: means and deviations of the maps of a frozen ``DiffusionBackbone``.

    They need no download, and tell what a head sees of an image. Distances in them are not
    comparable with Inception's, nor between diffusion models.

    Args:
        diffusion (str): As in ``DiffusionBackbone``.
    """

    def __init__(self, diffusion: str) -> None:
        super().__init__()
        self.backbone = DiffusionBackbone(diffusion, taps='decoder').eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB (N, 3, H, W) -> float32 (N, d)."""
        maps = [m.float() for m in self.backbone(to_unit_range(images))]
        # of all elements, not of a sample of them: a small image has maps of one element
        return torch.cat([x for m in maps for x in (m.mean((2, 3)), m.std((2, 3), correction=0))], dim=1)


def inception_features(weights: str) -> nn.Module:
    """The Inception network of the FID that papers report, by torch-fidelity.

    Args:
        weights (str): Path of ``pt_inception-2015-12-05-6726825d.pth``, as torch-fidelity names it.

    Returns:
        nn.Module: uint8 RGB (N, 3, H, W) -> float32 (N, 2048).

    Raises:
        FileNotFoundError: No such file.
        ImportError: torch-fidelity is not installed.
    """
    if not osp.isfile(weights):
        raise MissingFileError(
            f"there is no file {weights}: download Inception's weights once "
            'with torch-fidelity, or leave --inception out'
        )
    if importlib.util.find_spec('torch_fidelity') is None:
        raise NotInstalledError(
            "Inception's features need torch-fidelity: run `pip install torch-fidelity`, or leave --inception out"
        )
    from torchmetrics.image.fid import NoTrainInceptionV3

    # resized as in the papers, where newer versions of torchmetrics would smooth
    known = inspect.signature(NoTrainInceptionV3).parameters
    options = dict(antialias=False) if 'antialias' in known else {}
    return NoTrainInceptionV3('inception-v3-compat', ['2048'], weights, **options).eval()


def check_torchmetrics() -> None:
    """To be called before the long work that :func:`distances` comes after.

    Raises:
        ImportError: It is not installed.
    """
    if importlib.util.find_spec('torchmetrics') is None:
        raise NotInstalledError('FID and KID need torchmetrics: run `pip install torchmetrics`')


class _Given(nn.Module):
    """Hands features through where torchmetrics expects an extractor of images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def distances(
    first: Tensor, second: Tensor, subsets: int = 100, seed: int = 0, standardise: bool = True
) -> dict[str, float]:
    """FID and KID between two sets of features, by torchmetrics.

    FID is the Frechet distance of Gaussians (Heusel et al. 2017); it needs more samples than
    features, so it is left out for smaller sets. KID is the unbiased squared MMD with a cubic
    kernel (Binkowski et al. 2018), averaged over random subsets.

    Args:
        first (Tensor): Of real images, (M, d).
        second (Tensor): Of the images to judge, (N, d).
        subsets (int): Random subsets that KID averages over. Default 100.
        seed (int): Of their draw. Default 0.
        standardise (bool): Whether KID's kernel sees features standardised by ``first``: their
            scale differs from network to network, but for Inception's, which papers take as they
            are. Default True.

    Returns:
        dict[str, float]: ``kid``, ``kid_std`` (over the subsets) and, where there are enough
        images, ``fid``.

    Raises:
        ValueError: Fewer than 4 images in a set.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    smallest = min(len(first), len(second))
    if smallest < 4:
        raise UserError(f'a set of {smallest} images has no distribution: give at least 4')
    mean, std = (first.mean(0), first.std(0).clamp_min(1e-6)) if standardise else (0, 1)
    kid = KernelInceptionDistance(feature=_Given(first.shape[1]), subsets=subsets, subset_size=max(smallest // 2, 2))
    kid.update((first - mean) / std, real=True)
    kid.update((second - mean) / std, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        value, spread = kid.compute()
    result = dict(kid=value.item(), kid_std=spread.item())
    if smallest > first.shape[1]:
        fid = FrechetInceptionDistance(feature=_Given(first.shape[1]))
        fid.update(first, real=True)
        fid.update(second, real=False)
        result['fid'] = fid.compute().item()
    return result


def diversity(
    sources: Sequence[Tensor], samples: Sequence[Tensor], features_of_sources: Tensor, features_of_samples: Tensor
) -> dict[str, float]:
    """How far samples are from the images that they were made of.

    Args:
        sources (Sequence[Tensor]): Source image of each sample, uint8 (3, H, W).
        samples (Sequence[Tensor]): The samples, of the same sizes.
        features_of_sources (Tensor): (M, d).
        features_of_samples (Tensor): (M, d).

    Returns:
        dict[str, float]: ``pixels``, root mean square difference in [0, 1]; ``features``, distance
        as a share of the mean distance between two different sources: 0 is a copy, 1 another image.
        A single source has no ``features``.
    """
    pixels = torch.stack([((a.float() - b.float()) / 255).square().mean().sqrt() for a, b in zip(sources, samples)])
    result = dict(pixels=pixels.mean().item())
    distinct = features_of_sources.unique(dim=0)  # a source may have several samples
    if len(distinct) > 1:
        spread = distinct.std(0).clamp_min(1e-6)
        others = torch.pdist(distinct / spread).mean().clamp_min(1e-6)
        own = ((features_of_sources - features_of_samples) / spread).norm(dim=1).mean()
        result['features'] = (own / others).item()
    return result
