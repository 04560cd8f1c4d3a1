"""Whether a cache of frozen features will find anything again, and how large it will be."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..datasets.fixed_views import FixedViews, fixed_randomness
from ..datasets.wrappers import distinct_sources
from ..utils.errors import UserError
from ..utils.image_values import size_of

_DRAWS = 4  # of an image whose views are not fixed


def check_feature_cache(model: Any, dataset: Any) -> None:
    """Looks at the ``feature_cache`` of a model's backbone, where there is one, before it is filled.

    Args:
        model (BaseModel): Without wrapper.
        dataset: Of the training.

    Raises:
        ValueError: It does not fit, or would be larger than its limit or the disk.
    """
    cache = getattr(getattr(model, 'backbone', None), 'feature_cache', None)
    if cache is None:
        return
    kept = cache.open(model.backbone)
    views = getattr(dataset, 'views', None) or FixedViews(0)
    size = _size(model, _look_for_repeats(dataset, views))
    each = cache.bytes_of(model.backbone, size)
    real = getattr(dataset, 'real', dataset)
    images = len(distinct_sources(real)) + len(dataset) - len(real)
    total = each * images * max(views.count, 1)
    sum_up = (
        f'feature_cache: {max(views.count, 1)} views of {images} images (synthetic ones included), {each / 1e6:.3g} MB '
        f'each at {size[0]} x {size[1]} pixels, are up to {total / 1e9:.3g} GB'
    )
    mend = "take fewer views, or feature_cache.keep='latents', which are the smallest"
    if total > cache.limit * 1e9:
        raise UserError(f'{sum_up}, more than feature_cache.limit = {cache.limit:g}: raise it, {mend}')
    there = sum(path.stat().st_size for path in kept.folder.rglob('*.safetensors'))
    free = shutil.disk_usage(_existing(kept.folder)).free
    if total - there > free:
        raise UserError(f'{sum_up}, but {free / 1e9:.3g} GB are free in {kept.folder}: name another folder, {mend}')
    print_log(f'{sum_up}; {there / 1e9:.3g} GB are there already, in {kept.folder}.', 'current')


def _look_for_repeats(dataset: Any, views: FixedViews) -> Tensor:
    """Draws an image more often than it has views, warns if all were different, and gives the first."""
    drawn: list[Tensor] = []
    with fixed_randomness(0):
        for _ in range(max(views.count, _DRAWS) + 1):
            drawn.append(torch.as_tensor(dataset[0]['inputs']))
            if any(torch.equal(drawn[-1], other) for other in drawn[:-1] if other.shape == drawn[-1].shape):
                return drawn[0]
    why = (
        'a transform of its pipeline has random numbers of its own, which `views` cannot fix: take it out'
        if views.count
        else "set train_dataloader.dataset=dict(type='SyntheticMixDataset', views=8, ratio=0, dataset=<the present "
        'one>), or `views` of the SyntheticMixDataset that is there'
    )
    print_log(
        f'feature_cache will find little again: {len(drawn)} times the first image of the training data came in as '
        f'many views; {why}.',
        'current',
        level=logging.WARNING,
    )
    return drawn[0]


def _size(model: Any, image: Tensor) -> tuple[int, int]:
    """Height and width in pixels as the backbone sees an image (3, H, W)."""
    padded = getattr(model.data_preprocessor, 'size', None)
    return tuple(padded) if padded is not None else size_of(image)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
