"""Whether a cache of frozen features will find anything again, and how large it will be."""

import logging
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from ..creation.settings import CreationSettings
from ..creation.unlabelled import pictures_of
from ..datasets.fixed_views import FixedViews, fixed_randomness
from ..datasets.wrappers import distinct_sources
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from ..utils.image_values import size_of
from .run import to_iterations

_DRAWS = 4  # of an image whose views are not fixed


def check_feature_cache(model: Any, dataset: Any, runner: Any = None) -> None:
    """Looks at the ``feature_cache`` of a model's backbone, where there is one, before it is filled.

    Args:
        model (BaseModel): Without wrapper.
        dataset: Of the training.
        runner: Of the training, whose hook and length say how many samples there will be. Default None: what the data
            set serves now, and no end.

    Raises:
        ValueError: It does not fit, or would be larger than its limit or the disk.
    """
    cache = getattr(getattr(model, 'backbone', None), 'feature_cache', None)
    if cache is None:
        return
    kept = cache.open(model.backbone)
    views = getattr(dataset, 'views', None) or FixedViews(0)
    size = _size(model, _look_for_repeats(dataset, views))
    shown = _shown(dataset, runner, max(views.count, 1))
    each = cache.bytes_of(model.backbone, size)
    total, at_once = each * shown.in_all / 1e9, each * shown.at_once / 1e9
    sum_up = (
        f'feature_cache: {shown}, {each / 1e6:.3g} MB each at {size[0]} x {size[1]} pixels, are up to {total:.3g} GB'
    )
    mend = "take fewer views, or feature_cache.keep='latents', which are the smallest"
    if at_once > cache.limit:
        whole = '' if at_once == total else f', {at_once:.3g} GB of them at a time'
        raise UserError(f'{sum_up}{whole}, more than feature_cache.limit = {cache.limit:g}: raise it, {mend}')
    there = sum(path.stat().st_size for path in kept.folder.rglob('*.safetensors')) / 1e9
    free = shutil.disk_usage(_existing(kept.folder)).free / 1e9
    if min(total, cache.limit) - there > free:
        raise UserError(f'{sum_up}, but {free:.3g} GB are free in {kept.folder}: name another folder, {mend}')
    room = f' Those of former rounds make room at feature_cache.limit = {cache.limit:g}.' if total > cache.limit else ''
    print_log(f'{sum_up}; {there:.3g} GB are there already, in {kept.folder}.{room}', 'current')


class _Shown(NamedTuple):
    """Images that training sees, in so many views each.

    Attributes:
        views: Of each image.
        real: Images.
        synthetic: Samples of a round.
        rounds: Of creation, each of which has other samples.
        draws: Samples of all batches of the run.
    """

    views: int
    real: int
    synthetic: int
    rounds: int
    draws: float

    @property
    def in_all(self) -> float:
        """float: Features that will be kept at most, if none make room."""
        return min(self.views * (self.real + self.rounds * self.synthetic), self.draws)

    @property
    def at_once(self) -> float:
        """float: Of them those that come again while a round lasts."""
        return min(self.views * (self.real + self.synthetic), self.draws)

    def __str__(self) -> str:
        each = f' in each of {self.rounds} rounds' if self.rounds > 1 else ''
        samples = f' and {self.synthetic} synthetic ones{each}' if self.synthetic else ''
        fewer = f', of which {self.draws} are drawn' if self.in_all == self.draws else ''
        return f'{self.views} views of {self.real} images{samples}{fewer}'


def _shown(dataset: Any, runner: Any, views: int) -> _Shown:
    real = len(distinct_sources(getattr(dataset, 'real', dataset)))
    hook = next((h for h in getattr(runner, 'hooks', ()) if getattr(h, 'creation', None) is not None), None)
    draws = math.inf
    if runner is not None:
        sampler = getattr(runner.train_dataloader, 'batch_sampler', None)
        draws = runner.max_iters * getattr(sampler, 'batch_size', math.inf) * get_world_size()
    if hook is not None:
        sources = min(real, hook.creation.get('limit') or real)
        settings = CreationSettings.from_dict(hook.creation)
        pictures = len(pictures_of(settings)[: settings.limit])
        made = sources * settings.copies_per_source
        return _Shown(views, real, made + pictures, _rounds(runner, hook), draws)
    served = getattr(dataset, 'serving', None)
    samples = 0 if served is None else len(SyntheticStore(dataset.store_root, warn=False).accepted(served))
    return _Shown(views, real, samples, 1, draws)


def _rounds(runner: Any, hook: Any) -> int:
    """How often ``SelfImprovingHook`` creates samples."""
    if not hook.recreate_every:
        return 1
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop) if hook.by_epoch is None else hook.by_epoch
    begin, every = (
        to_iterations(runner, getattr(hook, name), by_epoch, name) for name in ('warm_up', 'recreate_every')
    )
    return max(runner.max_iters - 1 - begin, 0) // every + 1


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
