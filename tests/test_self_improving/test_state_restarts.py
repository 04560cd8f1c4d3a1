"""Schedules that begin anew with the self-improving stage."""

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from diff2in1_mm.self_improving.state import check_schedules

from ..tiny_runs import config

pytestmark = pytest.mark.usefixtures('tiny_create')


class _Rates(Hook):
    """Learning rate that each iteration trains with, by number of the iteration."""

    def __init__(self):
        self.found = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.found[runner.iter] = round(runner.optim_wrapper.param_groups[0]['lr'], 6)


def rates(images, work_dir, iters=8, resume=False, **hook):
    cfg = config(
        images,
        work_dir,
        iters=iters,
        resume=resume,
        hook=hook,
        param_scheduler=[
            dict(type='mmengine.LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=2),
            dict(type='mmengine.MultiStepLR', by_epoch=False, milestones=[3], gamma=0.1),
        ],
    )
    runner, noted = Runner.from_cfg(cfg), _Rates()
    runner.register_hook(noted, priority='LOWEST')
    runner.train()
    return noted.found


STAGE = [0.005, 0.01, 0.01, 0.001]


def test_one_schedule_runs_over_both_stages(images, tmp_path):
    assert list(rates(images, tmp_path).values()) == STAGE + [0.001] * 4


def test_the_schedule_begins_anew(images, tmp_path):
    assert list(rates(images, tmp_path, restart_schedule=True).values()) == STAGE * 2


@pytest.mark.parametrize('at', [4, 6])
def test_a_resumed_run_goes_on_in_its_stage(images, tmp_path, at):
    first = rates(images, tmp_path, iters=at + 1, restart_schedule=True)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / f'iter_{at}.pth'))
    second = rates(images, tmp_path, iters=8, resume=True, restart_schedule=True)
    assert min(second) == at
    assert list({**first, **second}.values()) == STAGE * 2


def test_schedules_without_a_config_are_refused(images, tmp_path):
    runner = Runner.from_cfg(config(images, tmp_path))
    runner.param_schedulers = [dict(type='ConstantLR')]
    with pytest.raises(ValueError, match='give it `cfg` with a `param_scheduler`'):
        check_schedules(runner)
