"""The creation stage as the hook runs it: theta_C fills the store, then it is served."""

import os.path as osp
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.model import BaseModel
from mmengine.runner.runner import _SlicedDataset
from torch.distributed import PrefixStore

from ..store.store import SyntheticStore
from ..utils.compat import default_store
from ..utils.errors import UserError
from ..utils.models import seed_of_run
from .create import create
from .shown_round import show_round

__all__ = ['create_round', 'mixed_dataset', 'together']

_LOOK_SECONDS = 0.2


def mixed_dataset(runner) -> Any:
    """The training data set, which must be able to serve synthetic samples.

    Raises:
        ValueError: One sentence that says what to wrap, or that no synthetic sample is drawn.
    """
    drawn = runner.train_dataloader.dataset
    # MMEngine's wrapper for num_batch_per_epoch passes reading on, but not setting attributes
    dataset = drawn._dataset if isinstance(drawn, _SlicedDataset) else drawn
    if not (hasattr(dataset, 'serve') and hasattr(dataset, 'store_root')):
        raise UserError(
            f'SelfImprovingHook mixes synthetic samples into the training data, but {type(dataset).__name__} cannot '
            "serve them: set train_dataloader.dataset = dict(type='SyntheticMixDataset', dataset=<your data set>), or "
            'creation=None to keep to real data.'
        )
    if drawn is not dataset and len(drawn) <= len(dataset.real) < len(dataset):
        raise UserError(
            f'num_batch_per_epoch of train_dataloader draws only the first {len(drawn)} samples, '
            f'and the synthetic ones come after the {len(dataset.real)} real ones: leave it out, '
            'and for a quick trial set `indices` of the data set that SyntheticMixDataset wraps.'
        )
    if dataset.store_root is None:
        dataset.store_root = osp.join(runner.work_dir, 'synthetic')
    return dataset


def create_round(runner, model: BaseModel, theta_c: Any, settings: Mapping, round: int) -> dict:
    """Creates a round of samples with theta_C and serves it; continues an interrupted one.

    Args:
        runner: Of the training run.
        model (BaseModel): Without wrapper; holds theta_E before and after.
        theta_c (ThetaC): What labels the samples; ``applied(model)`` puts its values into the model.
        settings (Mapping): The hook's ``creation`` settings.
        round (int): Number of the round, from 0.

    Returns:
        dict: ``samples``, the number of samples of this round, which is served now, and
        ``unreadable``, the number of source images that could not be read.
    """
    dataset = mixed_dataset(runner)
    with together(), theta_c.applied(model):
        skipped = torch.tensor(_create(model, dataset, settings, round, seed_of_run(runner)))
    all_reduce(skipped, 'sum')
    with together('looking through the store'):
        if is_main_process():
            SyntheticStore(dataset.store_root)  # writes the index that all others read
    dataset.serve(round)
    barrier()  # the former round goes when nobody serves it any more
    store = SyntheticStore(dataset.store_root)
    with together('removing the former round'):
        if is_main_process():
            store.prune(keep_round=round)
            store.merge(round)
            show_round(runner, model, dataset, store, round, settings)
    return dict(samples=len(store.accepted(round)), unreadable=int(skipped))


def _create(model: BaseModel, dataset: Any, settings: Mapping, round: int, seed: int) -> int:
    """Makes this process's share of the round; returns how many sources were unreadable."""
    rank, world_size = get_dist_info()
    report = create(
        model, dataset, dataset.store_root, round=round, seed=seed, rank=rank, world_size=world_size, **settings
    )
    return len(report.skipped)


@contextmanager
def together(what: str = 'creation') -> Iterator[None]:
    """Leaves the block when all processes have, however long that takes.

    A collective operation would give up after the process group's timeout (30 minutes), which one
    process's share of a creation can outlast. So each notes its end in the store through which the
    processes met, and looks there for the others; a process that fails notes that, so that nobody waits for it.

    Args:
        what (str): What the processes do, for the message of the others. Default 'creation'.

    Raises:
        RuntimeError: Another process failed.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        yield
        return
    token = [uuid.uuid4().hex]
    broadcast_object_list(token)  # what was noted at another time must not count
    store = PrefixStore(token[0], default_store())
    try:
        yield
    except BaseException:
        store.set('rank', str(rank))
        store.add('failed', 1)
        raise
    store.add('done', 1)
    while store.add('done', 0) < world_size:
        if store.add('failed', 0):  # torch 2.1 can only ask so without waiting
            rank = store.get('rank').decode()
            raise RuntimeError(f'{what} failed in the process of rank {rank}; its own message says why.')
        time.sleep(_LOOK_SECONDS)  # `wait` could not be interrupted from the keyboard
    barrier()  # all have looked before one ends, who may be the keeper of the store
