"""Configs that run a share of their length."""

import pytest
from mmengine.config import Config

from diff2in1_mm.comparison.lengths import shorten


def config(loop, schedules, **hook):
    return Config(
        dict(
            train_cfg=loop,
            param_scheduler=schedules,
            custom_hooks=[dict(type='GalleryHook'), dict(type='SelfImprovingHook', **hook)],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=50, save_best='mIoU', max_keep_ckpts=1)),
        )
    )


def test_iterations_with_warm_up_and_schedules():
    linear = dict(type='LinearLR', by_epoch=False, begin=0, end=50)
    poly = dict(type='PolyLR', by_epoch=False, begin=50, end=600, power=0.9)
    cfg = config(dict(type='IterBasedTrainLoop', max_iters=600, val_interval=50), [linear, poly], warm_up=400)
    assert shorten(cfg, 0.25) == 100
    assert cfg.train_cfg.to_dict() == dict(type='IterBasedTrainLoop', max_iters=150, val_interval=150)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 12), (12, 150)]
    assert cfg.custom_hooks[1].warm_up == 100
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.by_epoch, checkpoint.interval, checkpoint.max_keep_ckpts) == (False, 150, -1)
    assert 'save_best' not in checkpoint


def test_epochs_with_milestones_and_rounds():
    steps = dict(type='MultiStepLR', begin=0, end=12, milestones=[8, 11])
    cfg = config(
        dict(by_epoch=True, max_epochs=12, val_interval=1, dynamic_intervals=[(10, 1)]),
        steps,
        warm_up=8,
        recreate_every=2,
    )
    assert shorten(cfg, 0.5) == 4
    assert cfg.train_cfg.to_dict() == dict(by_epoch=True, max_epochs=6, val_interval=6)
    assert (cfg.param_scheduler.end, cfg.param_scheduler.milestones) == (6, [4, 6])
    assert cfg.custom_hooks[1].recreate_every == 1 and cfg.default_hooks.checkpoint.by_epoch


def test_schedules_that_count_by_other_names():
    schedules = [
        dict(type='OneCycleLR', by_epoch=False, eta_max=0.01, total_steps=600),
        dict(type='CosineRestartLR', by_epoch=False, periods=[155, 445], restart_weights=[1, 0.5]),
        dict(type='StepLR', by_epoch=True, step_size=1),
        dict(type='ExponentialLR', by_epoch=False, gamma=0.99),
        dict(type='ReduceOnPlateauLR', patience=10, cooldown=0),
    ]
    cfg = config(dict(max_iters=600), schedules, warm_up=400)
    shorten(cfg, 0.3)
    cycle, restart, step, exponential, plateau = cfg.param_scheduler
    assert cycle.total_steps == 180 and restart.periods == [47, 134] and sum(restart.periods) >= 180
    assert step.step_size == 1 and plateau.patience == 3 and plateau.cooldown == 0
    assert exponential.gamma**180 == pytest.approx(0.99**600)


def test_the_shortest_run_still_has_both_stages():
    linear = dict(type='LinearLR', by_epoch=False, begin=10, end=12)
    cfg = config(dict(type='IterBasedTrainLoop', max_iters=100), [linear], warm_up=99)
    assert shorten(cfg, 0.01) == 1 and cfg.train_cfg.max_iters == 2
    assert cfg.param_scheduler[0].end > cfg.param_scheduler[0].begin


@pytest.mark.parametrize('share', [0, -1, 1.5, 'half', None])
def test_a_share_out_of_range_is_named(share):
    cfg = config(dict(max_iters=100), [], warm_up=50)
    with pytest.raises(ValueError, match='share = .* must be above 0 and at most 1'):
        shorten(cfg, share)


def test_a_warm_up_in_another_unit_is_refused():
    cfg = config(dict(max_iters=100), [], warm_up=1, by_epoch=True)
    with pytest.raises(ValueError, match='give warm_up in its unit'):
        shorten(cfg, 0.5)
