"""Runs with ``runner_type='FlexibleRunner'``, MMEngine's second runner."""

import os

import pytest
from mmengine.hooks import Hook
from mmengine.runner import FlexibleRunner

from diff2in1_mm.creation import stage as creation_stage
from diff2in1_mm.utils.atomic_files import is_leftover
from diff2in1_mm.utils.compat import load_weights_only

from ..tiny_runs import config


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr('mmengine._strategy.base.collect_env', dict)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def flexible(images, work_dir, resume=False, checkpoint='AtomicCheckpointHook', **hook):
    cfg = config(
        images,
        work_dir,
        resume=resume,
        hook=dict(dict(warm_up=1), **hook),
        param_scheduler=[dict(type='mmengine.ConstantLR', factor=0.5, end=9)],
    )
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.default_hooks.checkpoint = dict(type=checkpoint, interval=1, save_best='mIoU')
    cfg.log_processor.by_epoch = True
    cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))  # which this runner requires
    return FlexibleRunner.from_cfg(cfg)


@pytest.mark.usefixtures('tiny_create')
class TestFlexibleRunner:
    def test_a_run_killed_in_its_creation_goes_on_with_that_epoch(self, images, tmp_path, monkeypatch):
        class Watch(Hook):
            def before_train_epoch(self, runner):
                epochs.append((runner.epoch, runner.iter))

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(creation_stage, '_create', interrupt)
            flexible(images, tmp_path).train()
        checkpoint = load_weights_only(tmp_path / 'epoch_1.pth')
        assert checkpoint['self_improving']['stage'] == 'creation'
        assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (1, 4)
        epochs, runner = [], flexible(images, tmp_path, resume=True)
        runner.register_hook(Watch())
        runner.train()
        assert epochs == [(1, 4), (2, 8)]
        last = load_weights_only(tmp_path / 'epoch_3.pth')['meta']
        assert (last['epoch'], last['iter']) == (3, 12)
        assert any(name.startswith('best_mIoU') for name in os.listdir(tmp_path))
        assert not any(map(is_leftover, os.listdir(tmp_path)))

    def test_a_checkpoint_gets_its_name_when_it_is_whole(self, images, tmp_path, monkeypatch):
        flush = os.fsync

        def killed_at_the_checkpoint(file):
            if any('.pth' in name for name in os.listdir(tmp_path)):  # other files are written before it
                interrupt()
            flush(file)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, 'fsync', killed_at_the_checkpoint)
            flexible(images, tmp_path).train()
        assert not (tmp_path / 'epoch_1.pth').exists()
        assert [name for name in os.listdir(tmp_path) if is_leftover(name)]
        flexible(images, tmp_path).train()
        assert not any(map(is_leftover, os.listdir(tmp_path)))

    def test_a_schedule_that_cannot_begin_anew_is_refused_at_the_start(self, images, tmp_path):
        with pytest.raises(ValueError, match='FlexibleRunner cannot: leave runner_type out'):
            flexible(images, tmp_path, restart_schedule=True).train()
        assert not (tmp_path / 'epoch_1.pth').exists()

    def test_a_hook_whose_checkpoints_skip_an_epoch_is_refused(self, images, tmp_path):
        with pytest.raises(ValueError, match="checkpoint.type = 'AtomicCheckpointHook'"):
            flexible(images, tmp_path, checkpoint='CheckpointHook').train()
