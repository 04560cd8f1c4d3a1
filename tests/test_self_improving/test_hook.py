"""The hook in whole small runs: stages, checkpoints, views, refusals."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from diff2in1_mm.self_improving.theta_c import ThetaC
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import class_weights_skip_ignored_pixels, load_weights_only

from ..tiny_runs import config, hook_of, train

# what the student sees of all images, and of how many the labels are the mean
VIEWS = dict(
    student_view=dict(transforms=[dict(type='PhotoMetricDistortion')], of='both', cutmix=0.5), labelling=dict(flip=True)
)


@HOOKS.register_module(force=True)
class Watcher(Hook):
    """Notes what each training iteration saw."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.seen, self.images, self.synthetic, self.agreement = [], [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.synthetic.append(sum(s.synthetic for s in data_batch['data_samples']))
        self._before = getattr(runner.model.backbone, 'images_seen', 0)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.images.append(getattr(runner.model.backbone, 'images_seen', 0) - self._before)


def watched(*args, **kwargs):
    cfg = config(*args, **kwargs)
    cfg.custom_hooks.append(dict(type='Watcher'))
    runner = train(cfg)
    return runner, hook_of(runner, 'Watcher')


def in_epochs(cfg, epochs):
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=1)
    cfg.log_processor.by_epoch = True
    return cfg


def load(path):
    return load_weights_only(path)


def same(a, b):
    assert set(a) == set(b)
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures('tiny_create')
class TestRun:
    def test_stages_and_summary(self, images, tmp_path):
        runner, watcher = watched(images, tmp_path, iters=12, hook=dict(warm_up=4))
        assert sum(watcher.synthetic[:5]) == 0  # the fifth was loaded before the stage began
        assert all(sum(watcher.synthetic[i : i + 4]) > 0 for i in range(5, 8))
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert list(summary['stages']) == ['warm_up', 'self_improving']
        assert {'mIoU', 'aAcc'} <= set(summary['stages']['warm_up'])
        assert summary['synthetic'] == dict(samples=8, unreadable=0, rounds=1)
        assert {'warm_up', 'creation', 'self_improving', 'validation'} <= set(summary['seconds'])
        scalars = runner.message_hub.log_scalars
        assert scalars['train/stage'].data[0].tolist() == [0, 0, 1, 1, 1, 1]
        for name in ('ignored', 'agreement', 'loss_real', 'loss_synthetic'):
            values = scalars[f'train/{name}'].data[0]
            assert len(values) and all(v == v for v in values), name
        assert 0.3 < scalars['train/agreement'].data[0][0] <= 1

    def test_losses_of_each_kind_are_logged_as_measured(self, images, tmp_path):
        """Once for each line of the log: MMEngine's average would be that of ten lines."""
        runner = train(config(images, tmp_path, iters=14, hook=dict(warm_up=4)))
        lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
        for name in ('loss_real', 'loss_synthetic'):
            logged = [line[name] for line in map(json.loads, lines) if name in line]
            measured = runner.message_hub.log_scalars[f'train/{name}'].data[0]
            # a batch of one kind alone leaves the figure of the other as it was
            assert list(dict.fromkeys(logged)) == pytest.approx(list(measured))
            assert len(measured) >= 4

    def test_checkpoint_is_theta_c_and_needs_no_hook(self, images, tmp_path):
        runner = train(config(images, tmp_path, iters=10, hook=dict(warm_up=4, momentum=0.1)))
        checkpoint = load(tmp_path / 'iter_10.pth')
        theta_c, theta_e = checkpoint['state_dict'], checkpoint['theta_E']
        assert same(theta_c, hook_of(runner).theta_c.state_dict())
        assert same(theta_e, runner.model.state_dict())
        assert not torch.equal(theta_c['decode_head.conv_seg.weight'], theta_e['decode_head.conv_seg.weight'])
        assert checkpoint['self_improving']['stage'] == 'self_improving'
        test = Runner.from_cfg(config(images, tmp_path / 'test', mix=False, load_from=str(tmp_path / 'iter_10.pth')))
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert test.test() == pytest.approx(summary['stages']['self_improving'])
        # so does the run itself, which goes on with theta_E
        assert runner.test() == pytest.approx(summary['stages']['self_improving'])
        assert same(theta_e, runner.model.state_dict())

    def test_warm_up_checkpoint_is_the_model(self, images, tmp_path):
        train(config(images, tmp_path, iters=6, hook=dict(warm_up=4)))
        assert 'theta_E' not in load(tmp_path / 'iter_2.pth')
        boundary = load(tmp_path / 'iter_4.pth')
        assert same(boundary['state_dict'], boundary['theta_E'])
        assert boundary['self_improving']['stage'] == 'creation'
        assert boundary['self_improving']['stages']['warm_up']['mIoU'] > 0

    @pytest.mark.parametrize('at', [2, 4, 6])
    def test_resumed_run_equals_an_uninterrupted_one(self, images, tmp_path, at):
        """In the warm-up, at its end, and in the self-improving stage; bit for bit."""

        def run(name, iters, resume=False):
            cfg = config(
                images,
                tmp_path / name,
                iters=iters,
                resume=resume,
                backbone='FrozenBackbone',
                hook=dict(warm_up=4, momentum=0.1, interval=2, student_view='feature_dropout'),
            )
            cfg.model.decode_head.dropout_ratio = 0  # torch's own, from the global generator
            cfg.train_cfg.max_iters = iters
            return train(cfg)

        run('whole', 10)
        run('parts', max(at, 5))
        (tmp_path / 'parts' / 'last_checkpoint').write_text(str(tmp_path / 'parts' / f'iter_{at}.pth'))
        resumed = run('parts', 10, resume=True)
        assert resumed.iter == 10
        whole, parts = (load(tmp_path / name / 'iter_10.pth') for name in ('whole', 'parts'))
        assert same(whole['state_dict'], parts['state_dict'])
        assert same(whole['theta_E'], parts['theta_E'])
        assert whole['self_improving']['stages'] == parts['self_improving']['stages']
        assert len(SyntheticStore(tmp_path / 'parts' / 'store')) == 8

    @pytest.mark.parametrize('seed', [None, 3])
    def test_a_seed_that_a_resume_would_lose_is_told(self, images, tmp_path, seed):
        cfg = config(images, tmp_path, iters=6, hook={}, randomness=dict(seed=seed))
        train(cfg)
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert ('set randomness = dict(seed=0)' in log) == (seed is None)

    def test_load_from_starts_both_sets_from_theta_c(self, images, tmp_path):
        train(config(images, tmp_path / 'a', iters=6, hook=dict(warm_up=4)))
        checkpoint = load(tmp_path / 'a' / 'iter_6.pth')
        cfg = config(
            images, tmp_path / 'b', iters=1, hook=dict(warm_up=0), load_from=str(tmp_path / 'a' / 'iter_6.pth')
        )
        cfg.optim_wrapper.optimizer.lr = 0.0
        cfg.default_hooks.checkpoint.interval = 1
        train(cfg)
        start = load(tmp_path / 'b' / 'iter_0.pth')
        assert same(start['theta_E'], checkpoint['state_dict'])
        assert same(start['state_dict'], checkpoint['state_dict'])

    @pytest.mark.parametrize('view, extra', [('same', 0), ('feature_dropout', 0), ('strong', 1)])
    def test_frozen_backbone_runs_once_per_image(self, images, tmp_path, view, extra):
        _, watcher = watched(
            images, tmp_path, iters=10, backbone='FrozenBackbone', hook=dict(warm_up=4, student_view=view)
        )
        assert sum(watcher.synthetic[5:]) > 0
        assert watcher.images[:4] == [4] * 4
        # logged iterations (every second) too
        assert watcher.images[5:] == [4 + extra * n for n in watcher.synthetic[5:]]

    @pytest.mark.parametrize('by_epoch', [False, True])
    def test_early_stop_at_the_end_of_the_warm_up_creates_nothing(self, images, tmp_path, by_epoch):
        """MMEngine's loops look after the iteration or epoch that has begun."""
        hook = dict(warm_up=1 if by_epoch else 3, momentum=0.5)
        cfg = config(images, tmp_path, iters=9, hook=hook)
        if by_epoch:
            in_epochs(cfg, 3)
        cfg.train_cfg.val_begin = 100  # the one at the end of the warm-up is the only one
        cfg.custom_hooks.append(dict(type='EarlyStoppingHook', monitor='mIoU', rule='greater', stopping_threshold=0.0))
        runner = train(cfg)
        assert runner.iter == (8 if by_epoch else 4)
        assert not (tmp_path / 'store').exists()
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert list(summary['stages']) == ['warm_up']
        # theta_C stays what was validated
        warm = load(tmp_path / ('epoch_1.pth' if by_epoch else 'iter_3.pth'))['state_dict']
        assert same(hook_of(runner).theta_c.state_dict(), warm)

    def test_a_run_that_is_stopped_creates_no_further_round(self, images, tmp_path):
        class Stop(Hook):
            def before_train_iter(self, runner, batch_idx, data_batch=None):
                runner.train_loop.stop_training = runner.iter == 6

        runner = Runner.from_cfg(config(images, tmp_path, iters=9, hook=dict(warm_up=2, recreate_every=4)))
        runner.register_hook(Stop(), priority='HIGH')
        runner.train()
        assert runner.iter == 7 and hook_of(runner).state.round == 0
        assert {record.round for record in SyntheticStore(tmp_path / 'store').records()} == {0}
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert list(summary['stages']) == ['warm_up', 'self_improving']

    @pytest.mark.parametrize('mode, at', [('eval', [6, 9]), ('train', [4, 5, 6, 7, 8, 9])])
    def test_statistics_are_averaged_where_they_move(self, images, tmp_path, monkeypatch, mode, at):
        """Over the processes: with each update, and after each pass that moves theta_C's own."""
        called = []
        monkeypatch.setattr(ThetaC, 'average_over_ranks', lambda theta: called.append(runner.iter))
        runner = Runner.from_cfg(
            config(
                images,
                tmp_path,
                iters=10,
                backbone='FrozenBackbone',
                hook=dict(warm_up=4, interval=3, target_mode=mode),
            )
        )
        runner.train()
        assert called == [4] + at  # it was made at the end of the warm-up

    def test_targets_of_creation_stay(self, images, tmp_path):
        runner = train(
            config(
                images,
                tmp_path,
                iters=8,
                backbone='FrozenBackbone',
                hook=dict(warm_up=2, targets='creation', momentum=0.5),
            )
        )
        assert runner.message_hub.get_scalar('train/ignored').current() == 0

    def test_control_without_synthetic_data(self, images, tmp_path):
        runner = train(config(images, tmp_path, iters=6, mix=False, hook=dict(warm_up=2, creation=None, momentum=0.5)))
        theta_c = hook_of(runner).theta_c
        assert not same(theta_c.state_dict(), runner.model.state_dict())
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert list(summary['stages']) == ['warm_up', 'self_improving']

    def test_epochs(self, images, tmp_path):
        train(in_epochs(config(images, tmp_path, hook=dict(warm_up=1, recreate_every=1)), 3))
        checkpoint = load(tmp_path / 'epoch_1.pth')
        assert checkpoint['meta']['epoch'] == 1 and checkpoint['meta']['iter'] == 4
        assert checkpoint['self_improving']['stage'] == 'creation'
        assert load(tmp_path / 'epoch_3.pth')['self_improving']['round'] == 1

    @pytest.mark.parametrize(
        'hook', [dict(target_mode='train'), dict(student_view='strong'), dict(confidence=0.6), VIEWS]
    )
    def test_amp_and_gradient_accumulation(self, images, tmp_path, hook):
        cfg = config(images, tmp_path, iters=8, amp=True, hook=dict(warm_up=2, **hook))
        cfg.optim_wrapper.accumulative_counts = 2
        before = train(cfg)
        assert all(torch.isfinite(p).all() for p in before.model.parameters())
        moved = load(tmp_path / 'iter_2.pth')['state_dict']['backbone.layers.0.weight']
        assert not torch.equal(moved, before.model.backbone.layers[0].weight)


@pytest.mark.usefixtures('tiny_create')
class TestRefusals:
    def refused(self, match, *args, change=None, **kwargs):
        cfg = config(*args, **kwargs)
        if change:
            change(cfg)
        with pytest.raises(ValueError, match=match):
            train(cfg)

    @pytest.mark.parametrize(
        'hook, ignoring',
        [
            (dict(confidence=0.8), 'confidence=0.8'),
            (dict(creation=dict(confidence=0.8)), 'confidence=0.8'),
            (dict(creation=dict(label_from='source', filter_above=1.25)), 'creation.filter_above=1.25'),
        ],
    )
    def test_class_weights_that_cannot_ignore_pixels(self, images, tmp_path, hook, ignoring):
        def weigh(cfg):
            head = cfg.model.decode_head
            head.loss_decode = dict(type='CrossEntropyLoss', class_weight=[1.0] * head.num_classes)

        if class_weights_skip_ignored_pixels():  # onedl-mmsegmentation
            cfg = config(images, tmp_path, hook=hook)
            weigh(cfg)
            train(cfg)
            return
        self.refused(
            f"{ignoring} ignores some.*type='WeightedCrossEntropyLoss'", images, tmp_path, hook=hook, change=weigh
        )

    def test_second_average(self, images, tmp_path):
        self.refused(
            'EMAHook and SelfImprovingHook both',
            images,
            tmp_path,
            hook={},
            change=lambda cfg: cfg.custom_hooks.append(dict(type='EMAHook')),
        )

    def test_data_set_that_cannot_serve(self, images, tmp_path):
        self.refused("type='SyntheticMixDataset'", images, tmp_path, hook={}, mix=False)

    def test_data_set_that_serves_a_store_already(self, images, tmp_path):
        train(config(images, tmp_path / 'run', hook={}, iters=5))
        cfg = config(images, tmp_path / 'again', hook={})
        cfg.train_dataloader.dataset.update(store=str(tmp_path / 'run' / 'store'), round=0)
        with pytest.raises(ValueError, match='leave `round` of SyntheticMixDataset out'):
            train(cfg)
        cfg.custom_hooks[0].creation = None
        runner = train(cfg)
        assert runner.train_dataloader.dataset.serving == 0

    def test_dropout_without_frozen_features(self, images, tmp_path):
        self.refused("use 'same' or 'strong'", images, tmp_path, hook=dict(student_view='feature_dropout'))

    def test_warm_up_longer_than_the_run(self, images, tmp_path):
        self.refused('leaves none of the 8', images, tmp_path, hook=dict(warm_up=8))

    @pytest.mark.parametrize(
        'argument',
        [
            dict(momentum=0),
            dict(interval=0),
            dict(targets='never'),
            dict(student_view='weak'),
            dict(target_mode='off'),
            dict(feature_dropout=1.0),
            dict(confidence=2),
            dict(warm_up=-1),
            dict(recreate_every=0),
        ],
    )
    def test_arguments(self, argument):
        from diff2in1_mm.self_improving.hook import SelfImprovingHook

        with pytest.raises(ValueError, match=next(iter(argument))):
            SelfImprovingHook(**{**dict(warm_up=1), **argument})

    def test_a_checkpoint_hook_that_is_not_atomic_is_named(self, images, tmp_path, caplog):
        cfg = config(images, tmp_path, iters=3, hook=dict(warm_up=1))
        cfg.default_hooks.checkpoint.type = 'CheckpointHook'
        train(cfg)
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert "type = 'AtomicCheckpointHook'" in log
