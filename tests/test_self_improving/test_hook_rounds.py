"""Rounds of creation: replaced, resumed, and their store."""

import shutil

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from diff2in1_mm.preflight import creation as preflight_creation
from diff2in1_mm.store.store import SyntheticStore

from ..tiny_runs import config, hook_of, train
from .test_hook import load, same, watched


@pytest.mark.usefixtures('tiny_create')
class TestRounds:
    def test_recreation_replaces_the_round(self, images, tmp_path):
        _, watcher = watched(images, tmp_path, iters=10, hook=dict(warm_up=2, recreate_every=3, momentum=0.5))
        store = SyntheticStore(tmp_path / 'store')
        assert {record.round for record in store.records()} == {2} and len(store) == 8
        checkpoint = load(tmp_path / 'iter_10.pth')
        assert checkpoint['self_improving']['round'] == 2
        assert load(tmp_path / 'iter_8.pth')['self_improving']['stage'] == 'creation'
        cfg = config(images, tmp_path, iters=12, resume=True, hook=dict(warm_up=2, recreate_every=3, momentum=0.5))
        train(cfg)
        assert SyntheticStore(tmp_path / 'store').records()[0].round == 3

    def test_a_run_killed_in_a_later_creation_equals_an_uninterrupted_one(self, images, tmp_path, monkeypatch):
        """Bit for bit: the batch that was drawn before the creation is of the former round."""

        def run(name, resume=False):
            cfg = config(
                images,
                tmp_path / name,
                iters=10,
                resume=resume,
                backbone='FrozenBackbone',
                hook=dict(warm_up=2, recreate_every=4, momentum=0.3),
            )
            cfg.model.decode_head.dropout_ratio = 0  # torch's own, from the global generator
            return train(cfg)

        def killed(store, record, *sample):
            if record.id.startswith('r001_s0000004'):
                raise KeyboardInterrupt
            return add(store, record, *sample)

        run('whole')
        add = SyntheticStore.add
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(SyntheticStore, 'add', killed)
            run('parts')
        assert load(tmp_path / 'parts' / 'iter_6.pth')['self_improving']['stage'] == 'creation'
        assert len(SyntheticStore(tmp_path / 'parts' / 'store')) == 8 + 4
        run('parts', resume=True)
        whole, parts = (load(tmp_path / name / 'iter_10.pth') for name in ('whole', 'parts'))
        assert same(whole['theta_E'], parts['theta_E'])
        assert same(whole['state_dict'], parts['state_dict'])

    def test_a_run_killed_after_a_later_creation_draws_the_new_round(self, images, tmp_path):
        """Not real samples, although the round that its checkpoint trains on is gone."""

        class Look(Hook):
            priority = 'VERY_HIGH'

            def before_train_iter(self, runner, batch_idx, data_batch=None):
                drawn[runner.iter] = {s.sample_id[:4] for s in data_batch['data_samples']}

            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                if killed and runner.iter == 6:  # round 1 is created before this iteration
                    raise KeyboardInterrupt

        drawn, killed = {}, True
        for resume in (False, True):
            runner = Runner.from_cfg(
                config(images, tmp_path, iters=8, resume=resume, hook=dict(warm_up=2, recreate_every=4))
            )
            runner.register_hook(Look())
            if killed:
                with pytest.raises(KeyboardInterrupt):
                    runner.train()
                assert drawn[6] == {'', 'r000'}  # drawn before
                killed = False
            else:
                runner.train()
        assert drawn[6] == {'', 'r001'}

    def test_a_checkpoint_whose_round_was_replaced_says_so(self, images, tmp_path):
        hook = dict(warm_up=2, recreate_every=4, momentum=0.3)

        def resume(at):
            (tmp_path / 'last_checkpoint').write_text(str(tmp_path / f'iter_{at}.pth'))
            return train(config(images, tmp_path, iters=9, resume=True, hook=hook))

        train(config(images, tmp_path, iters=9, hook=hook))
        with pytest.raises(ValueError, match='round 0 .* round 1 has replaced .* of iteration 6 '):
            resume(4)
        assert hook_of(resume(6)).state.round == 1
        shutil.rmtree(tmp_path / 'store')
        runner = resume(4)
        assert runner.iter == 9 and hook_of(runner).state.round == 1
        # in the meantime a checkpoint that knows that round 0 was begun again
        assert load(tmp_path / 'iter_4.pth')['self_improving']['stage'] == 'creation'
        assert {record.round for record in SyntheticStore(tmp_path / 'store').records()} == {1}

    def test_a_store_is_its_own_for_a_run_with_a_checkpoint(self, images, tmp_path, monkeypatch):
        """``--resume`` alone says nothing: without a checkpoint the run starts anew."""
        train(config(images, tmp_path / 'run', iters=5, hook={}))
        looked = []
        monkeypatch.setattr(preflight_creation, 'check_creation', lambda *args: looked.append(args[3]))
        cfg = config(images, tmp_path / 'new', iters=5, hook={}, resume=True)
        cfg.train_dataloader.dataset.store = str(tmp_path / 'run' / 'store')
        train(cfg)
        (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'iter_2.pth'))
        train(config(images, tmp_path / 'run', iters=5, hook={}, resume=True))
        assert looked == [str(tmp_path / 'run' / 'store'), None]
