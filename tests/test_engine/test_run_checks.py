"""Lengths in epochs and iterations."""
from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from diff2in1_mm.engine import run_checks
from diff2in1_mm.engine.run_checks import to_iterations


@pytest.mark.parametrize('sampler', [InfiniteSampler, DefaultSampler])
@pytest.mark.parametrize('batched', [False, True])
def test_an_epoch_shows_the_data_once_to_all_processes_together(monkeypatch, sampler, batched):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 3))
    monkeypatch.setattr(run_checks, 'get_world_size', lambda: 3)
    data = list(range(24))
    drawn = sampler(data)
    loader = DataLoader(data, batch_sampler=BatchSampler(drawn, 2, False)) if batched else \
        DataLoader(data, batch_size=2, sampler=drawn)
    runner = SimpleNamespace(train_dataloader=loader, train_loop=None)
    assert to_iterations(runner, 5, True, 'warm_up') == 5 * 24 // (2 * 3)
    assert to_iterations(runner, 5, False, 'warm_up') == 5
