import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import LogProcessor, ValLoop

from diff2in1_mm.hooks.summary import RunSummary, Stopwatch, log_latest, logs_after, plain_metrics

from ..tiny_runs import config, make_images, train


def test_metrics_become_plain_numbers():
    plain = plain_metrics(dict(mIoU=np.float32(40.16), loss=torch.tensor(2.0), per_class=[1, 2], name='x', count=3))
    assert set(plain) == {'mIoU', 'loss', 'count'}
    assert all(type(value) is float for value in plain.values())


def test_table_and_file(tmp_path):
    summary = RunSummary(
        dict(warm_up=dict(mIoU=np.float32(40.16)), self_improving=dict(mIoU=41.0, aAcc=80.0)),
        dict(samples=8),
        dict(warm_up=1.5, creation=2.0),
    )
    lines = summary.table().splitlines()
    assert [line.split() for line in lines[:3]] == [
        ['stage', 'mIoU', 'aAcc', 'seconds'],
        ['warm_up', '40.16', '-', '1.5'],
        ['self_improving', '41', '80', '-'],
    ]
    assert lines[3:] == ['synthetic: 8 samples', 'seconds: 2.0 creation']
    content = json.loads(open(summary.write(str(tmp_path))).read())
    assert content['stages']['warm_up'] == dict(mIoU=40.16)


def test_unreadable_files_are_counted(tmp_path):
    images = make_images(tmp_path / 'data')
    (images / 'img' / 'train' / '3.png').write_bytes(b'no image')
    runner = train(config(images, tmp_path, iters=6, hook=dict(warm_up=4, creation=None)))
    assert runner.train_dataloader.dataset.unreadable == 1
    assert json.loads((tmp_path / 'summary.json').read_text())['unreadable'] == 1
    lines = RunSummary({}, {}, {}, unreadable=1).table().splitlines()
    assert '1 files of the training data' in lines[-1]


def test_stopwatch_goes_on_after_a_resume(monkeypatch):
    now = [10.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    clock = Stopwatch(dict(warm_up=5.0))
    clock.switch('warm_up')
    now[0] = 12.0
    assert clock.switch('validation') == 'warm_up'
    now[0] = 13.0
    assert clock.seconds() == dict(warm_up=7.0, validation=1.0)


@pytest.mark.parametrize(
    'interval, ignore_last, at', [(2, True, [1, 3]), (2, False, [1, 3, 4]), (5, True, [4]), (50, True, [4])]
)
def test_figures_are_measured_where_they_are_logged(interval, ignore_last, at):
    runner = SimpleNamespace(train_dataloader=range(5))
    logger = LoggerHook(interval=interval, ignore_last=ignore_last)
    assert [i for i in range(5) if logs_after(runner, logger, i)] == at


@pytest.mark.usefixtures('tiny_create')
def test_epochs_shorter_than_the_log_interval_have_their_figures(tmp_path):
    cfg = config(make_images(tmp_path / 'data'), tmp_path, hook=dict(warm_up=1))
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.default_hooks.logger.interval = 50
    scalars = train(cfg).message_hub.log_scalars
    assert scalars['train/stage'].data[0].tolist() == [0, 1, 1]
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    trained = [line for line in map(json.loads, lines) if 'stage' in line]
    assert len(trained) == 3 and {'agreement', 'ignored', 'loss_synthetic'} <= set(trained[2])


def test_what_the_config_says_of_a_figure_in_the_log_stays():
    own = [
        dict(data_src='loss_real', method_name='max', window_size=5),
        dict(data_src='loss', log_name='loss_long', method_name='mean', window_size=50),
    ]
    processor = LogProcessor(custom_cfg=list(own))
    log_latest(SimpleNamespace(log_processor=processor), ('loss_real', 'loss_synthetic'))
    assert processor.custom_cfg == [*own, dict(data_src='loss_synthetic', method_name='current')]


def control(images, work_dir, resume=False):
    cfg = config(images, work_dir, iters=4, mix=False, resume=resume)
    cfg.custom_hooks = [dict(type='SummaryHook')]
    cfg.train_cfg.val_interval = 4
    return cfg


def figures(work_dir):
    return json.loads((work_dir / 'summary.json').read_text())['stages']['supervised']


def test_a_control_killed_in_its_last_validation_has_figures_when_resumed(images, tmp_path, monkeypatch):
    def killed(loop):
        raise KeyboardInterrupt

    train(control(images, tmp_path / 'whole'))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ValLoop, 'run', killed)
        train(control(images, tmp_path / 'parts'))
    train(control(images, tmp_path / 'parts', resume=True))
    assert figures(tmp_path / 'parts') == figures(tmp_path / 'whole') != {}


def test_a_control_is_validated_once_at_its_end(images, tmp_path, monkeypatch):
    runs, run = [], ValLoop.run
    monkeypatch.setattr(ValLoop, 'run', lambda loop: (runs.append(loop.runner.iter), run(loop)))
    train(control(images, tmp_path / 'by_the_loop'))
    cfg = control(images, tmp_path / 'by_the_hook')
    cfg.train_cfg.val_begin = 1000  # else the loop validates after its last iteration
    train(cfg)
    assert runs == [4, 4]


def test_figures_in_the_checkpoint_are_not_measured_again(images, tmp_path, monkeypatch):
    cfg = control(images, tmp_path)
    cfg.default_hooks.checkpoint.save_best = 'mIoU'  # written after the validation
    train(cfg)
    reached = figures(tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'best_mIoU_iter_4.pth'))
    monkeypatch.delattr(ValLoop, 'run')
    train(control(images, tmp_path, resume=True))
    assert figures(tmp_path) == reached != {}
