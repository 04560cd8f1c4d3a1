"""What the released code's second stage does with its optimizer and theta_C, by options."""

import pytest

from diff2in1_mm.self_improving.hook import SelfImprovingHook
from diff2in1_mm.self_improving.theta_c import ThetaC

from ..tiny_runs import config, hook_of, train

pytestmark = pytest.mark.usefixtures('tiny_create')


def epochs(images, tmp_path, number=3, **hook):
    cfg = config(images, tmp_path, hook=dict(warm_up=1, **hook))
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=number)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.train_dataloader.batch_size = 2  # 8 iterations an epoch
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=5)
    cfg.log_processor.by_epoch = True
    return cfg


def updates(cfg, monkeypatch):
    """(epoch, iteration of the epoch, from 0) of each update of theta_C."""
    found, update = [], ThetaC.update
    after = SelfImprovingHook.after_train_iter

    def noted(self, runner, batch_idx, *args, **kwargs):
        def count(theta, *inner):
            found.append((runner.epoch, batch_idx))
            update(theta, *inner)

        monkeypatch.setattr(ThetaC, 'update', count)
        after(self, runner, batch_idx, *args, **kwargs)

    monkeypatch.setattr(SelfImprovingHook, 'after_train_iter', noted)
    train(cfg)
    return found


def test_updates_count_from_the_epochs_beginning(images, tmp_path, monkeypatch):
    cfg = epochs(images, tmp_path, interval=3, interval_from='epoch')
    assert updates(cfg, monkeypatch) == [(1, 3), (1, 6), (2, 3), (2, 6)]


def test_updates_count_from_the_stages_beginning(images, tmp_path, monkeypatch):
    cfg = epochs(images, tmp_path, interval=3)
    assert updates(cfg, monkeypatch) == [(1, 2), (1, 5), (2, 0), (2, 3), (2, 6)]


@pytest.mark.parametrize('restart, steps', [(True, 16), (False, 24)])
def test_adam_begins_anew(images, tmp_path, restart, steps):
    runner = train(epochs(images, tmp_path, restart_optimizer=restart))
    assert {int(s['step']) for s in runner.optim_wrapper.optimizer.state.values()} == {steps}
    assert hook_of(runner).state.round == 0


def test_an_interval_that_never_comes_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match='never updates theta_C in epochs of 8'):
        train(epochs(images, tmp_path, interval=8, interval_from='epoch'))
    with pytest.raises(ValueError, match="use 'stage'"):
        train(config(images, tmp_path, hook=dict(interval_from='epoch')))
    with pytest.raises(ValueError, match='interval_from must be one of'):
        SelfImprovingHook(warm_up=1, interval_from='start')
