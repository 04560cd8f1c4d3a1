"""Lengths in epochs and iterations, and schedules that end before them."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, PolyLR
from torch.utils.data import BatchSampler, DataLoader

from diff2in1_mm.preflight import run as run_checks
from diff2in1_mm.preflight.run import to_iterations, warn_of_ended_schedules


@pytest.mark.parametrize('sampler', [InfiniteSampler, DefaultSampler])
@pytest.mark.parametrize('batched', [False, True])
def test_an_epoch_shows_the_data_once_to_all_processes_together(monkeypatch, sampler, batched):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 3))
    monkeypatch.setattr(run_checks, 'get_world_size', lambda: 3)
    data = list(range(24))
    drawn = sampler(data)
    loader = (
        DataLoader(data, batch_sampler=BatchSampler(drawn, 2, False))
        if batched
        else DataLoader(data, batch_size=2, sampler=drawn)
    )
    runner = SimpleNamespace(train_dataloader=loader, train_loop=None)
    assert to_iterations(runner, 5, True, 'warm_up') == 5 * 24 // (2 * 3)
    assert to_iterations(runner, 5, False, 'warm_up') == 5


@pytest.mark.parametrize(
    'schedules, words',
    [
        (
            [dict(type=LinearLR, start_factor=0.1, end=10), dict(type=PolyLR, begin=10, end=60)],
            'PolyLR brings the learning rate to 0 after 60 of 90 iterations',
        ),
        ([dict(type=CosineAnnealingLR, T_max=3, end=3, by_epoch=True)], 'after 3 of 9 epochs'),
        ([dict(type=PolyLR, begin=10, end=90)], None),
        ([dict(type=PolyLR, begin=10, end=60, eta_min=1e-5)], None),
        ([dict(type=CosineAnnealingLR, T_max=50, end=60, eta_min_ratio=0.1)], None),
        ([dict(type=PolyLR, end=60), dict(type=CosineAnnealingLR, T_max=30, begin=60, end=90)], None),
        ([dict(type=LinearLR, start_factor=0.1, end=10), dict(type=MultiStepLR, milestones=[50])], None),
        ([], None),
    ],
)
@pytest.mark.parametrize('named', [False, True])
def test_a_learning_rate_that_is_0_before_the_end(schedules, words, named):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    built = []
    for options in schedules:
        options = dict(dict(by_epoch=False), **options)
        built.append(options.pop('type')(optimizer, **options))
    warnings = []
    warn_of_ended_schedules(
        SimpleNamespace(
            param_schedulers=dict(generator=built) if named else built,
            max_iters=90,
            max_epochs=9,
            logger=SimpleNamespace(warning=warnings.append),
        )
    )
    assert [words in warning for warning in warnings] == ([True] if words else [])
