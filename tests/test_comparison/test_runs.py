"""Arms that share their warm-up, in whole small runs."""

import os
import os.path as osp

import pytest
import torch
from mmengine.hooks import IterTimerHook

from diff2in1_mm.comparison.runs import Arm, ArmRuns
from diff2in1_mm.utils.compat import load_weights_only

from .. import tiny_runs as tiny

ARMS = {
    'real': Arm('plain', dict(creation=None), 'real images'),
    'method': Arm('plain', {}, 'synthetic ones'),
    'other': Arm('other', dict(creation=None), 'real images', {'randomness.deterministic': False}),
}


@pytest.fixture
def runs(images, tmp_path, tiny_create):
    def configure(arm, seed):
        cfg = tiny.config(images, tmp_path / 'unused', hook=arm.hook, randomness=dict(seed=seed))
        cfg.train_dataloader.dataset.store = None
        cfg.default_hooks.checkpoint.update(interval=100)
        return cfg

    made = ArmRuns(str(tmp_path / 'runs'), ARMS, configure, 4)
    made.started = []
    run = made._run
    made._run = lambda name, seed: (made.started.append((name, seed)), run(name, seed))
    return made


def test_one_warm_up_serves_both_arms_and_finished_runs_stay(runs):
    runs.run(['real', 'method'], [0])
    assert runs.started == [('real', 0), ('method', 0)]
    real, method = (runs.summary(name, 0) for name in ('real', 'method'))
    assert real['stages']['warm_up'] == method['stages']['warm_up']
    assert real['synthetic'] == {} and method['synthetic']['samples'] == 8
    assert osp.isdir(osp.join(runs.folder('method', 0), 'synthetic'))
    # the second did not warm up again: it begins with the weights that the first ended its warm-up with
    boundary = load_weights_only(osp.join(runs.out, 'warm_up-plain-0.pth'))
    began = load_weights_only(osp.join(runs.folder('method', 0), 'iter_4.pth'))
    assert all(torch.equal(began['state_dict'][name], value) for name, value in boundary['state_dict'].items())
    assert boundary['self_improving']['stage'] == 'warm_up' and 'theta_E' not in boundary
    assert runs.seconds('method', 0) > 0 and runs.seconds('method', 1) is None
    runs.run(['method', 'real'], [0])
    assert len(runs.started) == 2


def test_a_method_alone_warms_up_as_the_first_arm_of_its_family_says(runs):
    runs.run(['method'], [1])
    assert runs.started == [('real', 1), ('method', 1)]
    assert set(runs.scores('method', [0, 1], 'mIoU')) == {1}


def test_a_run_that_was_killed_begins_behind_its_warm_up(runs, monkeypatch):
    def killed(self, runner, *rest, **more):
        if runner.iter == 5:  # in the second stage
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(IterTimerHook, 'after_train_iter', killed)
        runs.run(['real'], [0])
    assert not osp.exists(osp.join(runs.out, 'warm_up-plain-0.pth'))
    begun = []
    monkeypatch.setattr(IterTimerHook, 'before_train', lambda self, runner: begun.append(runner.iter))
    runs.run(['real', 'method'], [0])
    assert begun == [4, 4] and [name for name, _ in runs.started] == ['real', 'real', 'method']


def test_a_warm_up_that_a_kill_left_unkept_is_kept_by_the_next_start(runs):
    runs.run(['real'], [0])
    kept = osp.join(runs.out, 'warm_up-plain-0.pth')
    os.remove(kept)  # as if killed between the end of the run and this file
    runs.run(['method'], [0])
    assert runs.started == [('real', 0), ('method', 0)] and osp.exists(kept)


def test_controls_without_options_lie_where_other_comparisons_find_them(tmp_path):
    runs = ArmRuns(str(tmp_path / 'own'), ARMS, None, 4, shared=str(tmp_path / 'common'))
    assert osp.dirname(runs.folder('real', 0)) == str(tmp_path / 'common')
    assert osp.dirname(runs.folder('method', 0)) == osp.dirname(runs.folder('other', 0)) == str(tmp_path / 'own')
