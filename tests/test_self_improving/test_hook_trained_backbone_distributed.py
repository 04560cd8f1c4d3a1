"""Denoisers that two processes train along: equal in both, as one process trains them, and after a resume."""

import shutil

import pytest
import torch

from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.resources import tool_path

from ..detectors import make_coco, run_config as detector_config
from ..processes import run_in_two_processes
from ..test_tools.test_train import write
from ..tiny_runs import train
from ..versions import needs_detectors
from .test_hook_trained_backbone import LORA, run_config

pytest.importorskip('peft')


def saving_each_rank(cfg):
    cfg.custom_hooks.append(dict(type='SaveEachRank'))
    cfg.custom_imports = dict(imports=['diff2in1_mm', 'tests.watched_runs'], allow_failed_imports=False)
    return cfg


def train_in_two_processes(cfg, folder, *options):
    """Trains in ``folder``; gives theta_E and theta_C, which are equal in both processes."""
    run_in_two_processes([tool_path('tools/train.py'), write(cfg, folder), '--work-dir', str(folder), *options], folder)
    own, other = (load_weights_only(folder / f'rank{rank}.pth') for rank in range(2))
    for name in ('theta_E', 'theta_C'):
        assert any('.lora_B.' in key for key in own[name]) and own[name].keys() == other[name].keys()
        assert all(torch.equal(own[name][key], other[name][key]) for key in own[name])
    return own


def test_two_processes_train_as_one_with_their_batches(images, tmp_path, pipeline_folder):
    """LoRA under bfloat16, a step every two iterations: warm-up of one step, creation, two steps."""

    def of_batch(name, batch):
        cfg = run_config(images, tmp_path / name, pipeline_folder, LORA, batch=batch, amp=True)
        cfg.model.decode_head.norm_cfg = dict(type='GN', num_groups=2)  # of single images
        cfg.optim_wrapper.update(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=2, paramwise_cfg=None)
        data = cfg.train_dataloader.dataset.dataset
        data.pipeline = [step for step in data.pipeline if step.type != 'mmseg.RandomFlip']  # drawn in each process
        return saving_each_rank(cfg)

    train(of_batch('one', 4))
    one = load_weights_only(tmp_path / 'one/rank0.pth')
    two = train_in_two_processes(of_batch('two', 2), tmp_path / 'two')
    start = load_weights_only(tmp_path / 'one/iter_2.pth')['theta_E']
    for name in ('theta_E', 'theta_C'):
        for part in ('.lora_A.', '.lora_B.', 'decode_head.'):
            way, apart = (
                torch.cat([(one[name][key] - values[key]).flatten() for key in start if part in key]).norm()
                for values in (start, two[name])
            )
            assert apart < 0.02 * way, (name, part)  # sums in bfloat16 are rounded in another order


@needs_detectors
def test_a_detector_of_two_processes_goes_on_where_it_was(tmp_path, pipeline_folder):
    """RetinaNet, which leaves a map unread: DDP waits for a gradient of all that LoRA has."""
    coco, run = make_coco(tmp_path / 'coco'), tmp_path / 'run'
    run.mkdir()

    def cfg():
        made = detector_config('retinanet', coco, run, pipeline_folder, iters=4)
        made.model.backbone.train = LORA
        made.train_dataloader.batch_size = 2
        made.randomness.diff_rank_seed = True
        return saving_each_rank(made)

    whole = train_in_two_processes(cfg(), run)
    expected = load_weights_only(shutil.move(run / 'iter_4.pth', tmp_path / 'whole.pth'))
    (run / 'last_checkpoint').write_text(str(run / 'iter_3.pth'))
    resumed = train_in_two_processes(cfg(), run, '--resume')
    found = load_weights_only(run / 'iter_4.pth')
    for name in ('theta_E', 'theta_C'):
        assert all(torch.equal(resumed[name][key], whole[name][key]) for key in whole[name])
    torch.testing.assert_close(found['optimizer']['state'], expected['optimizer']['state'], rtol=0, atol=0)
