"""What earlier versions wrote goes on working: a config, a checkpoint and a store of November 2026 (commit dd6105b)."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from diff2in1_mm.utils.compat import load_weights_only

from .. import tiny_runs
from ..versions import needs

MADE = Path(__file__).resolve().parent.parent / 'data' / 'run_of_november_2026'
#: Of iter_8.pth, which is iter_6.pth resumed, as it was measured then.
MIOU = 45.70


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of the run, beside the images that it was trained on."""
    tiny_runs.make_images(tmp_path / 'images')
    shutil.copytree(MADE, tmp_path / 'run')
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'run'


def weights(path):
    return load_weights_only(path)['state_dict']


@needs('torch', '2.4', 'draws other masks for dropout than those that the run was made with')
def test_a_run_of_an_earlier_version_goes_on_where_it_was(run):
    """Its last two iterations draw the samples of its store and come to the same theta_C."""
    (run / 'iter_8.pth').unlink()
    (run / 'last_checkpoint').write_text('run/iter_6.pth')
    records = {path.name: path.read_bytes() for path in run.glob('store/records/*')}
    cfg = Config.fromfile(run / 'config.py')
    cfg.resume = True
    runner = tiny_runs.train(cfg)
    assert runner.iter == 8 and tiny_runs.hook_of(runner).state.synthetic['samples'] == 8
    expected, found = weights(MADE / 'iter_8.pth'), weights(run / 'iter_8.pth')
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    assert records == {path.name: path.read_bytes() for path in run.glob('store/records/*')}


def test_a_checkpoint_of_an_earlier_version_is_tested(run):
    """The state_dict of the file is theta_C, and loads whole."""
    from mmengine.runner import Runner

    cfg = Config.fromfile(run / 'config.py')
    cfg.load_from = 'run/iter_8.pth'
    runner = Runner.from_cfg(cfg)
    figures = runner.test()
    assert figures['mIoU'] == pytest.approx(MIOU, abs=0.01)
    own = runner.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in weights(MADE / 'iter_8.pth').items())
