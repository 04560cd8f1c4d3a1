import threading
from types import SimpleNamespace

import pytest

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


def test_waits_for_the_slowest(two_ranks, tmp_path):
    order, started = [], threading.Event()

    def fast():
        with together(tmp_path, poll_seconds=0.01):
            started.set()
        order.append('fast left')

    def slow():
        with together(tmp_path, poll_seconds=0.01):
            started.wait(10)
            order.append('slow done')

    assert two_ranks(fast, slow) == [None, None]
    assert order == ['slow done', 'fast left']
    assert not list(tmp_path.iterdir())


def test_a_failure_ends_the_waiting(two_ranks, tmp_path):
    def good():
        with together(tmp_path, poll_seconds=0.01):
            pass

    def bad():
        with together(tmp_path, poll_seconds=0.01):
            raise OSError('disk full')

    first, second = two_ranks(good, bad)
    assert 'rank 1' in str(first) and str(second) == 'disk full'


def test_one_process_leaves_no_file(tmp_path):
    with together(tmp_path / 'none'):
        pass
    assert not (tmp_path / 'none').exists()


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
