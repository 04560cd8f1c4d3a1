"""The creation stage as the hook runs it: theta_C fills the store, then it is served."""

import glob
import os
import os.path as osp
import time
import uuid
from contextlib import contextmanager
from typing import Any, Iterator, Mapping

import torch
import torch.nn as nn
from mmengine.dist import (all_reduce, barrier, broadcast_object_list, get_dist_info, get_rank,
                           is_main_process)
from mmengine.runner.runner import _SlicedDataset

from ..synthesis.create import check_creation, create
from ..synthesis.store import SyntheticStore
from .theta import ThetaC

__all__ = ['check_creation_stage', 'create_round', 'mixed_dataset', 'seed_of_run', 'together']


def seed_of_run(runner) -> int:
    """The seed that all processes share; with ``diff_rank_seed`` MMEngine adds the rank to it."""
    added = get_rank() if runner._randomness_cfg.get('diff_rank_seed') else 0
    return runner.seed - added


def mixed_dataset(runner) -> Any:
    """The training data set, which must be able to serve synthetic samples.

    Raises:
        ValueError: One sentence that says what to wrap, or that no synthetic sample is drawn.
    """
    drawn = runner.train_dataloader.dataset
    # MMEngine's wrapper for num_batch_per_epoch passes reading on, but not setting attributes
    dataset = drawn._dataset if isinstance(drawn, _SlicedDataset) else drawn
    if not (hasattr(dataset, 'serve') and hasattr(dataset, 'store_root')):
        raise ValueError(
            'SelfImprovingHook mixes synthetic samples into the training data, but '
            f'{type(dataset).__name__} cannot serve them: set train_dataloader.dataset = '
            "dict(type='SyntheticMixDataset', dataset=<your data set>), or creation=None to keep "
            'to real data.')
    if drawn is not dataset and len(drawn) <= len(dataset.real) < len(dataset):
        raise ValueError(
            f'num_batch_per_epoch of train_dataloader draws only the first {len(drawn)} samples, '
            f'and the synthetic ones come after the {len(dataset.real)} real ones: leave it out, '
            'and for a quick trial set `indices` of the data set that SyntheticMixDataset wraps.')
    if dataset.store_root is None:
        dataset.store_root = osp.join(runner.work_dir, 'synthetic')
    return dataset


def check_creation_stage(runner, model: nn.Module, settings: Mapping, resumed: bool) -> None:
    """Tells before a long warm-up what would stop the creation after it.

    Args:
        runner: Of the training run.
        model (nn.Module): Without wrapper.
        settings (Mapping): The hook's ``creation`` settings.
        resumed (bool): Whether a checkpoint of this run was restored, whose store is its own.

    Raises:
        StoreMismatch: The store holds samples made for something else.
        TypeError, ValueError: One sentence that says what is wrong and the mend.
    """
    dataset = mixed_dataset(runner)
    if dataset.serving is not None and not resumed:
        raise ValueError(
            'the training data set serves a store from the start, but SelfImprovingHook creates '
            'one: leave `round` of SyntheticMixDataset out, or set creation=None.')
    held = 0
    if not resumed and osp.exists(osp.join(dataset.store_root, 'store.json')):
        held = len(SyntheticStore(dataset.store_root, warn=False))
    check_creation(model, settings, dataset, dataset.store_root if held else None,
                   seed_of_run(runner))
    if held:
        # the same run made again fits it, any other must not be mixed in
        runner.logger.warning(
            f'{dataset.store_root} holds {held} synthetic samples already: unless this run '
            'would make the same ones it will stop after the warm-up, so remove that folder, '
            'or continue the former run with --resume.')


def create_round(runner, model: nn.Module, theta_c: ThetaC, settings: Mapping, round: int) -> dict:
    """Creates a round of samples with theta_C and serves it; continues an interrupted one.

    Args:
        runner: Of the training run.
        model (nn.Module): Without wrapper; holds theta_E before and after.
        theta_c (ThetaC): What labels the samples.
        settings (Mapping): The hook's ``creation`` settings.
        round (int): Number of the round, from 0.

    Returns:
        dict: ``samples``, the number of samples of this round, which is served now, and
        ``unreadable``, the number of source images that could not be read.
    """
    dataset = mixed_dataset(runner)
    with together(osp.join(runner.work_dir, '.creation')), theta_c.applied(model):
        skipped = torch.tensor(_create(model, dataset, settings, round, seed_of_run(runner)))
    all_reduce(skipped, 'sum')
    dataset.serve(round)
    barrier()  # the former round goes when nobody serves it any more
    store = SyntheticStore(dataset.store_root)
    if is_main_process():
        store.prune(keep_round=round)
        store.merge(round)
    return dict(samples=len(store.records(round)), unreadable=int(skipped))


def _create(model: nn.Module, dataset: Any, settings: Mapping, round: int, seed: int) -> int:
    """Makes this process's share of the round; returns how many sources were unreadable."""
    rank, world_size = get_dist_info()
    report = create(model, dataset, dataset.store_root, round=round, seed=seed, rank=rank,
                    world_size=world_size, **settings)
    return len(report.skipped)


@contextmanager
def together(folder: str, poll_seconds: float = 0.2, what: str = 'creation') -> Iterator[None]:
    """Leaves the block when all processes have, however long that takes.

    A collective operation would give up after the process group's timeout (30 minutes), which one
    process's share of a creation can outlast. So each leaves a file in ``folder`` instead and looks
    for those of the others; a process that fails leaves one too, so that nobody waits for it.

    Args:
        folder (str): On a disk that all processes share.
        poll_seconds (float): Time between two looks.
        what (str): What the processes do, for the message of the others. Default 'creation'.

    Raises:
        RuntimeError: Another process failed.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        yield
        return
    os.makedirs(folder, exist_ok=True)
    token = [uuid.uuid4().hex]
    broadcast_object_list(token)  # files of a killed run must not count
    here = osp.join(folder, f'{token[0]}-{rank}')
    try:
        yield
    except BaseException:
        _touch(f'{here}.failed')
        raise
    _touch(f'{here}.done')
    while len(glob.glob(osp.join(folder, f'{token[0]}-*.done'))) < world_size:
        failed = glob.glob(osp.join(folder, f'{token[0]}-*.failed'))
        if failed:
            raise RuntimeError(f'{what} failed in the process of rank '
                               f'{failed[0].rpartition("-")[2].removesuffix(".failed")}; its own '
                               'message says why.')
        time.sleep(poll_seconds)
    barrier()
    if rank == 0:
        for path in glob.glob(osp.join(folder, f'{token[0]}-*')):
            os.remove(path)


def _touch(path: str) -> None:
    with open(path, 'w'):
        pass
