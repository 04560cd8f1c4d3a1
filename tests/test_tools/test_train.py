import importlib.util
import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.visualization import Visualizer

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.requirements import uses_forks
from diff2in1_mm.utils.resources import tool_path

from ..processes import Script, environment, free_port
from ..stores import records_written
from ..test_self_improving.test_hook_whole_run import with_diffusion
from ..tiny_runs import config, make_images


def tool(name):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, tool_path(f'tools/{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(cfg, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'config.py'
    for name in ('work_dir', 'launcher', 'resume', 'experiment_name'):
        cfg.pop(name)
    cfg.dump(str(path))
    return str(path)


def train_under_torchrun(path, folder):
    """tools/train.py in two new interpreters, into ``folder / 'run'``."""
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={free_port()}']
    command = [*torchrun, tool_path('tools/train.py'), path, '--work-dir', 'run', '--launcher', 'pytorch']
    run = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]


@pytest.mark.usefixtures('tiny_create')
def test_train_resume_and_test(images, tmp_path, capsys):  # noqa: F811
    path = write(config(images, tmp_path / 'run', iters=8, hook={}), tmp_path)
    run = str(tmp_path / 'run')
    tool('train').main([path, '--work-dir', run, '--cfg-options', 'train_cfg.max_iters=6'])
    tool('train').main(
        [path, '--work-dir', run, '--resume', '--amp', '--cfg-options', 'log_level=INFO', 'experiment_name=resumed']
    )
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    assert list(summary['stages']) == ['warm_up', 'self_improving']
    assert 'self_improving' in capsys.readouterr().out.rpartition('Stages of this run')[2]

    tool('test').main(
        [
            path,
            str(tmp_path / 'run' / 'iter_8.pth'),
            '--work-dir',
            str(tmp_path / 'test'),
            '--out',
            str(tmp_path / 'maps'),
        ]
    )
    metrics = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    for name, value in summary['stages']['self_improving'].items():
        assert metrics[name] == pytest.approx(value)
    assert len(list((tmp_path / 'maps').iterdir())) == 8


def test_nothing_to_resume_is_said(images, tmp_path):  # noqa: F811
    path = write(config(images, tmp_path, iters=1, mix=False), tmp_path)
    command = [path, '--work-dir', str(tmp_path / 'run'), '--resume']
    sentence = f'nothing to resume in {tmp_path / "run"}: starting anew'
    tool('train').main(command)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert f'WARNING - {sentence}' in log.read_text()
    tool('train').main([*command, '--cfg-options', 'train_cfg.max_iters=2', 'experiment_name=resumed'])
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()
    for log in (tmp_path / 'run').glob('*/*.log'):
        assert 'Resumed from' not in log.read_text() or sentence not in log.read_text()


# the hook of onedl-mmsegmentation (1.4) draws all images of a test, whatever its interval
@pytest.mark.parametrize('interval, count', [(None, 8), (2, 8 if uses_forks() else 4)])
def test_pictures_of_every_image(images, tmp_path, interval, count):  # noqa: F811
    cfg = config(images, tmp_path, mix=False)
    cfg.default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
    if interval:
        cfg.default_hooks.visualization.interval = interval
    cfg.visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    path = write(cfg, tmp_path)
    init_default_scope('mmseg')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'w.pth')
    tool('test').main(
        [path, str(tmp_path / 'w.pth'), '--work-dir', str(tmp_path / 'work'), '--show-dir', str(tmp_path / 'shown')]
    )
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == count


@pytest.mark.parametrize('kind', ['OptimWrapper', OptimWrapper, 'AmpOptimWrapper'])
def test_mixed_precision_on_a_cpu(monkeypatch, kind):
    """Classes themselves are what configs of MMEngine's new style name."""
    train = tool('train')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(train, 'cpu_takes_bf16', lambda: True)
    cfg = Config(
        dict(optim_wrapper=dict(type=kind, loss_scale='dynamic', dtype='float16', optimizer=dict(type='SGD', lr=0.1)))
    )
    train._use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='Bf16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    monkeypatch.setattr(train, 'cpu_takes_bf16', lambda: False)
    train._use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    cfg.optim_wrapper.type = dict
    with pytest.raises(ValueError, match="optim_wrapper.type = 'dict'"):
        train._use_amp(cfg)


def test_a_run_without_the_hook_has_a_summary_too(images, tmp_path):  # noqa: F811
    path = write(config(images, tmp_path, iters=2, mix=False), tmp_path)
    tool('train').main([path, '--work-dir', str(tmp_path / 'run')])
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    assert summary['stages']['supervised']['mIoU'] > 0 and summary['seconds']['supervised'] > 0


class TestBadInput:
    def said(self, capsys, script, *argv):
        # runs begun within a second have one name, and would share a visualizer whose folder is gone
        Visualizer._instance_dict.clear()
        with pytest.raises(SystemExit) as end:
            tool(script).main(list(argv))
        assert end.value.code == 2
        said = capsys.readouterr()
        error = said.err
        assert 'Traceback' not in error  # libraries may have warned before
        assert ' - INFO - ' not in said.out and 'Config:' not in said.out
        return error.splitlines()[-1]

    def test_config(self, tmp_path, capsys):
        assert 'no_such' in self.said(capsys, 'train', str(tmp_path / 'no_such.py'))

    def test_faulty_configs(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        faulty = tmp_path / 'faulty.py'
        for script in ('train', 'test'):
            for text, sentence in {
                'a = (': "faulty.py cannot be read as a config (SyntaxError: '(' was never closed, line 1): mend it",
                f'_base_ = {path!r}\n{script}_dataloader = None': f'faulty.py has no {script}_dataloader: give the',
            }.items():
                faulty.write_text(f'{text}\n')
                argv = [script, str(faulty), *(['none.pth'] if script == 'test' else [])]
                assert sentence in self.said(capsys, *argv)

    def test_a_misspelt_option(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path, hook={}), tmp_path)
        assert "SelfImprovingHook has no option 'warmup'; did you mean 'warm_up'?" in self.said(
            capsys, 'train', path, '--work-dir', str(tmp_path / 'run'), '--cfg-options', 'custom_hooks.0.warmup=3'
        )
        assert not (tmp_path / 'run').exists()

    def test_the_last_checkpoint_is_gone(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        (tmp_path / 'last_checkpoint').write_text('moved/iter_3.pth')
        said = self.said(capsys, 'train', path, '--work-dir', str(tmp_path), '--resume')
        assert 'moved/iter_3.pth does not exist: ' in said and 'last_checkpoint names it' in said

    def test_a_folder_that_cannot_be_written(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        for argv in (['train', path], ['test', path, path]):
            assert '--work-dir /proc/nothing cannot be written' in self.said(
                capsys, *argv, '--work-dir', '/proc/nothing'
            )

    def test_mixed_precision_of_gpus(self, images, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
        cfg = config(images, tmp_path)
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        said = self.said(capsys, 'train', write(cfg, tmp_path), '--work-dir', str(tmp_path / 'run'))
        assert "'AmpOptimWrapper' is mixed precision of GPUs, and torch sees none here: give --amp, which" in said
        assert not (tmp_path / 'run').exists()

    def test_data_folder(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images / 'nowhere', tmp_path, hook={}), tmp_path)
        assert 'nowhere does not exist' in self.said(capsys, 'train', path)

    def test_data_set_that_cannot_serve(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path, hook={}, mix=False), tmp_path)
        assert "type='SyntheticMixDataset'" in self.said(capsys, 'train', path)

    def test_the_data_of_a_test_are_looked_at_before_the_weights(self, tmp_path, capsys):
        root = tmp_path / 'set'
        make_images(root, count=2)
        first = sorted((root / 'ann/val').iterdir())[0]
        cv2.imwrite(str(first), np.zeros((5, 7), np.uint8))
        cfg = config(root, tmp_path)
        cfg.test_dataloader.dataset.data_prefix = dict(img_path='img/val', seg_map_path='ann/val')
        path, weights = write(cfg, tmp_path), str(tmp_path / 'none.pth')
        torch.save(dict(state_dict={}), weights)
        argv = ['test', path, weights, '--work-dir', str(tmp_path / 'work')]
        said = self.said(capsys, *argv)
        assert (
            f'label maps of BaseSegDataset have another size than their image, the first is {first} with 7 x 5' in said
        )
        skip = ['--cfg-options', 'preflight.skip=[map_sizes]']
        assert 'none.pth does not fit the model' in self.said(capsys, *argv, *skip)
        skip[1] = 'preflight.skip=[map_size]'
        assert "'map_size', which is no check; did you mean 'map_sizes'?" in self.said(capsys, *argv, *skip)

    def test_checkpoint(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        assert 'none.pth does not exist' in self.said(capsys, 'test', path, 'none.pth')
        for options in (['--resume', 'none.pth'], ['--cfg-options', 'load_from=none.pth']):
            assert 'none.pth does not exist' in self.said(capsys, 'train', path, *options)

    def test_a_folder_or_no_checkpoint_at_all(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / 'iter_7.pth').touch()
        for argv in (['test', path, str(tmp_path / 'run')], ['train', path, '--resume', str(tmp_path / 'run')]):
            assert 'the newest one in it, ' in (said := self.said(capsys, *argv))
            assert 'iter_7.pth' in said
        assert f'{path} cannot be read as a checkpoint' in self.said(capsys, 'test', path, path)

    def test_a_checkpoint_of_another_model(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        other = tmp_path / 'other.pth'
        torch.save(dict(state_dict={'roi_head.bbox_head.fc_cls.weight': torch.zeros(4, 8)}, meta={}), other)
        for argv in (['test', path, str(other)], ['train', path, '--resume', str(other)]):
            said = self.said(capsys, *argv, '--work-dir', str(tmp_path / 'work'))
            assert 'other.pth does not fit the model of the config (Missing key(s): ' in said
            assert said.endswith('give the config that it was trained with') and not (tmp_path / 'work').exists()

    def test_a_run_does_not_start_from_weights_of_another_model(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path, iters=1, mix=False), tmp_path)
        weights = {'roi_head.bbox_head.fc_cls.weight': torch.zeros(4, 8)}
        torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
        argv = [path, '--work-dir', str(tmp_path / 'work'), '--cfg-options', f'load_from={tmp_path / "other.pth"}']
        said = self.said(capsys, 'train', *argv)
        assert 'other.pth is of another model: nothing that it holds (roi_head.bbox_head.fc_cls.weight) has' in said
        assert not (tmp_path / 'work').exists()

    def test_options_that_the_config_cannot_follow(self, images, tmp_path, capsys):  # noqa: F811
        path = write(config(images, tmp_path), tmp_path)
        checkpoint = tmp_path / 'any.pth'
        checkpoint.touch()
        test = ['test', path, str(checkpoint), '--work-dir', str(tmp_path / 'work')]
        assert 'tta_pipeline' in self.said(capsys, *test, '--tta')
        assert 'default_hooks.visualization' in self.said(capsys, *test, '--show-dir', 'shown')
        assert 'need a visualizer in the config' in self.said(
            capsys,
            *test,
            '--show-dir',
            'shown',
            '--cfg-options',
            'default_hooks.visualization.type=SegVisualizationHook',
        )
        assert '--out /proc/nothing cannot be written' in self.said(capsys, *test, '--out', '/proc/nothing')
        assert '--launcher slurm starts processes on GPUs' in self.said(
            capsys, 'train', path, '--work-dir', str(tmp_path / 'work'), '--launcher', 'slurm'
        )
        assert 'base_batch_size' in self.said(capsys, 'train', path, '--auto-scale-lr')

    @pytest.mark.parametrize('split', ['train', 'val'])
    @pytest.mark.parametrize('hook', [None, dict(creation=None)])
    def test_labels_outside_the_classes(self, images, tmp_path, capsys, split, hook):  # noqa: F811
        folder = tmp_path / 'images'
        subprocess.run(['cp', '-r', str(images), str(folder)], check=True)
        annotation = next((folder / 'ann' / split).iterdir())
        cv2.imwrite(str(annotation), np.full((32, 32), 9, np.uint8))
        path, work = write(config(folder, tmp_path, hook=hook, mix=False), tmp_path), tmp_path / 'new' / 'run'
        said = self.said(capsys, 'train', path, '--work-dir', str(work))
        assert f'{annotation.name} holds the label values 9' in said and not work.parent.exists()

    def test_a_model_that_cannot_be_built(self, images, tmp_path, capsys):  # noqa: F811
        cfg = config(images, tmp_path)
        cfg.model.backbone = dict(type='DiffusionBackbone', diffusion=str(tmp_path))
        said = self.said(capsys, 'train', write(cfg, tmp_path))
        assert f'{tmp_path} has no unet/config.json: give the folder that holds' in said


@pytest.mark.parametrize('script', ['train', 'test'])
def test_help_teaches(script, capsys):
    with pytest.raises(SystemExit):
        tool(script).main(['--help'])
    text = capsys.readouterr().out
    assert 'examples:' in text and '--cfg-options' in text and '--launcher' in text


def test_killed_in_creation(images, tmp_path, tiny_create):  # noqa: F811
    """Nothing is made twice, and the run that goes on has the same theta_C."""
    path = write(config(images, tmp_path, iters=6, hook={}), tmp_path)
    options = [path, '--work-dir', str(tmp_path / 'run')]
    killed = Script([tool_path('tools/train.py'), *options], tmp_path, TINY_CREATE_SECONDS='0.5')
    path_of_store = tmp_path / 'store'
    until(lambda: records_written(path_of_store) >= 2, killed)
    killed.kill()
    half = SyntheticStore(path_of_store)
    made = {p: p.stat().st_mtime_ns for record in half.records() for p in half.annotation_paths(record).values()}
    assert 2 <= len(made) < 8
    last = (tmp_path / 'run' / 'last_checkpoint').read_text()
    before = load_weights_only(tmp_path / last)
    assert before['self_improving']['stage'] == 'creation'

    tool('train').main([*options, '--resume'])
    assert len(SyntheticStore(path_of_store)) == 8
    assert all(p.stat().st_mtime_ns == t for p, t in made.items())
    after = load_weights_only(tmp_path / 'run' / 'iter_6.pth')
    assert after['self_improving']['stages'] == before['self_improving']['stages']


def test_two_processes_on_the_cpu(images, tmp_path, pipeline_folder):  # noqa: F811
    cfg = with_diffusion(
        pipeline_folder, images, tmp_path, iters=7, batch=2, workers=1, hook=dict(student_view='strong', interval=2)
    )
    cfg.model.decode_head.norm_cfg.type = 'SyncBN'
    cfg.model.backbone.update(train='full', text_adapter=True, with_cp=True)  # DDP waits for each gradient
    cfg.randomness = dict(seed=5, diff_rank_seed=True)  # of augmentations, not of the method
    path = write(cfg, tmp_path)
    train_under_torchrun(path, tmp_path)
    store = SyntheticStore(tmp_path / 'store')
    assert store.settings['seed'] == 5
    assert [record.source for record in store.records(0)] == list(range(8))
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    assert summary['synthetic']['samples'] == 8
    checkpoint = load_weights_only(tmp_path / 'run' / 'iter_7.pth')
    assert checkpoint['self_improving']['stage'] == 'self_improving'
    for name in ('backbone.denoiser.conv_in.weight', 'backbone.text_adapter.gamma'):
        assert not torch.equal(checkpoint['theta_E'][name], checkpoint['state_dict'][name])


def test_a_store_made_beforehand_serves_the_run(images, tmp_path, pipeline_folder):  # noqa: F811
    """tools/create_data.py on the checkpoint of the boundary makes what the run would make."""
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=5)
    path = write(cfg, tmp_path)
    tool('train').main([path, '--work-dir', str(tmp_path / 'run')])
    by_run = SyntheticStore(tmp_path / 'store')
    tool('create_data').main(
        [path, str(tmp_path / 'run' / 'iter_3.pth'), '--out', str(tmp_path / 'made'), '--device', 'cpu']
    )
    made = SyntheticStore(tmp_path / 'made')
    assert made.fingerprint == by_run.fingerprint and len(made) == len(by_run) == 8
    stamps = {r.id: os.stat(made.image_path(r)).st_mtime_ns for r in made.records()}
    tool('train').main(
        [
            path,
            '--work-dir',
            str(tmp_path / 'again'),
            '--cfg-options',
            f'train_dataloader.dataset.store={tmp_path / "made"}',
            'experiment_name=again',
        ]
    )
    made.refresh()
    assert stamps == {r.id: os.stat(made.image_path(r)).st_mtime_ns for r in made.records()}
    summaries = [json.loads((tmp_path / name / 'summary.json').read_text()) for name in ('run', 'again')]
    assert summaries[0]['stages'] == summaries[1]['stages']


def until(reached, process, seconds=120):
    end = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, 'the process ended before'
        assert time.monotonic() < end, 'too slow'
        time.sleep(0.05)
