import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from diff2in1_mm.creation import stage as creation_stage
from diff2in1_mm.creation.stage import together
from diff2in1_mm.utils import models
from diff2in1_mm.utils.models import seed_of_run

from ..tiny_runs import config, hook_of, train


@pytest.fixture
def two_ranks(monkeypatch):
    """Threads that take each other for processes."""
    here = threading.local()
    monkeypatch.setattr(creation_stage, 'get_dist_info', lambda: (here.rank, 2))
    monkeypatch.setattr(creation_stage, 'broadcast_object_list', lambda token: token.__setitem__(0, 'token'))
    store = HashStore()
    monkeypatch.setattr(creation_stage, 'default_store', lambda: store)
    barrier = threading.Barrier(2)
    monkeypatch.setattr(creation_stage, 'barrier', lambda: barrier.wait(10))

    def run(*bodies):
        results = [None, None]

        def of(rank):
            here.rank = rank
            try:
                bodies[rank]()
            except Exception as error:  # noqa: B902
                results[rank] = error

        threads = [threading.Thread(target=of, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return results

    return run


@pytest.mark.parametrize('differs', [False, True])
def test_the_seed_is_that_of_all_processes(monkeypatch, differs):
    monkeypatch.setattr(models, 'get_rank', lambda: 3)
    runner = SimpleNamespace(seed=8 if differs else 5, _randomness_cfg=dict(seed=5, diff_rank_seed=differs))
    assert seed_of_run(runner) == 5


def test_waits_for_the_slowest(two_ranks):
    order, started = [], threading.Event()

    def fast():
        with together():
            started.set()
        order.append('fast left')

    def slow():
        with together():
            started.wait(10)
            order.append('slow done')

    assert two_ranks(fast, slow) == [None, None]
    assert order == ['slow done', 'fast left']


def test_a_failure_ends_the_waiting(two_ranks):
    def good():
        with together():
            pass

    def bad():
        with together():
            raise OSError('disk full')

    first, second = two_ranks(good, bad)
    assert 'rank 1' in str(first) and str(second) == 'disk full'


def _meet(rank, folder, queue):
    """Rank 1 takes longer than the process group's timeout, and fails the second time."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2, timeout=timedelta(seconds=4)
    )
    with together():
        time.sleep(6 * rank)
    queue.put((rank, time.time(), ''))
    try:
        with together('the second creation'):
            if rank:
                raise OSError('disk full')
    except (OSError, RuntimeError) as error:
        queue.put((rank, time.time(), str(error)))


def test_processes_wait_longer_than_the_timeout_of_their_group(tmp_path):
    context = torch.multiprocessing.get_context('fork')  # without importing all again
    queue = context.Queue()
    workers = [context.Process(target=_meet, args=(rank, tmp_path, queue)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    said = [queue.get(timeout=300) for _ in range(4)]
    for worker in workers:
        worker.join(60)
    left = [at for _, at, error in said if not error]
    assert len(left) == 2 and abs(left[0] - left[1]) < 3
    errors = {rank: error for rank, _, error in said if error}
    assert errors[1] == 'disk full' and 'the second creation failed in the process of rank 1' in errors[0]


@pytest.mark.usefixtures('tiny_create')
class TestNumBatchPerEpoch:
    """MMEngine's setting for a quick trial, which wraps the data set."""

    def test_a_slice_with_synthetic_slots_trains_on_them(self, images, tmp_path):
        cfg = config(images, tmp_path, hook={})
        cfg.train_dataloader.num_batch_per_epoch = 3  # 12 of 8 + 8 samples
        del cfg.train_dataloader.dataset.store  # so that the hook names the folder
        runner = train(cfg)
        assert runner.train_dataloader.dataset.visits.bool().tolist() == [True] * 4 + [False] * 4
        assert hook_of(runner).state.synthetic['samples'] == 8
        assert (tmp_path / 'synthetic' / 'store.json').exists()

    def test_a_slice_without_any_is_refused_at_the_start(self, images, tmp_path):
        cfg = config(images, tmp_path, hook={})
        cfg.train_dataloader.num_batch_per_epoch = 2
        with pytest.raises(ValueError, match='draws only the first 8 samples.* the 8 real ones'):
            train(cfg)
        cfg.custom_hooks[0].creation = None
        train(cfg)
