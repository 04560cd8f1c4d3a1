"""tools/switch_in.py: from somebody's config to a run of the whole system."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

import diff2in1_commands
from diff2in1_mm.store.store import SyntheticStore
from tests.tiny_runs import config, make_images

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip('mmseg')


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('switch_in', ROOT / 'tools' / 'switch_in.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own_config(tmp_path):
    """A segmentor on a ResNet, with images, that knows nothing of diffusion."""
    cfg = config(make_images(tmp_path / 'data', count=4), tmp_path / 'work', iters=4, mix=False)
    cfg.pop('custom_imports')
    cfg.model.backbone = dict(
        type='ResNet', depth=18, base_channels=8, num_stages=2, out_indices=(0, 1), strides=(1, 2), dilations=(1, 1)
    )
    cfg.model.decode_head.update(in_channels=16, in_index=1)
    cfg.default_hooks.checkpoint.type = 'CheckpointHook'
    path = tmp_path / 'own.py'
    cfg.dump(path)
    return path


def test_a_switched_config_trains(tool, own_config, tmp_path, pipeline_folder, capsys):
    out = tmp_path / 'configs' / 'mine.py'
    tool.main([str(own_config), '--out', str(out), '--diffusion', pipeline_folder, '--dtype', 'fp32', '--side', '64'])
    assert f'python tools/train.py {out}' in capsys.readouterr().out
    cfg = Config.fromfile(out)
    assert cfg.model.backbone.out_channels == [None, 16]
    assert cfg.model.backbone.out_strides == [4, 8]
    cfg.work_dir = str(tmp_path / 'work')
    # a small model, whose text encoder takes no caption of a scene
    cfg.custom_hooks[0].creation.update(steps=1, condition=None, scale=(32, 32))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 4
    assert len(SyntheticStore(tmp_path / 'work' / 'synthetic')) == 4


def test_a_config_that_keeps_its_backbone_trains(tool, own_config, tmp_path, pipeline_folder):
    out = tmp_path / 'mine.py'
    tool.main(
        [
            str(own_config),
            '--out',
            str(out),
            '--keep-backbone',
            '--diffusion',
            pipeline_folder,
            '--dtype',
            'fp32',
            '--side',
            '64',
        ]
    )
    cfg = Config.fromfile(out)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.custom_hooks[0].creation.update(steps=1, condition=None, scale=(32, 32))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert type(runner.model.backbone).__name__ == 'ResNet' and runner.iter == 4
    assert len(SyntheticStore(tmp_path / 'work' / 'synthetic')) == 4


@MODELS.register_module(force=True)
class TwoFacedBackbone(nn.Module):
    """Gives one map more while it is trained, as those with auxiliary branches."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 8, 1)

    def forward(self, images):
        maps = self.stem(images)
        return (maps, maps) if self.training else (maps,)


def test_the_new_file_names_the_command_that_wrote_it(tool, own_config, tmp_path, pipeline_folder, monkeypatch):
    out = tmp_path / 'mine.py'
    argv = [str(own_config), '--out', str(out), '--diffusion', pipeline_folder, '--dtype', 'fp32', '--overwrite']
    for called, named in ((None, 'tools/switch_in.py'), ('diff2in1-switch-in', 'diff2in1-switch-in')):
        monkeypatch.setattr(diff2in1_commands, '_called', called)
        tool.main([*argv, '--features-only', '--out-channels', '0', '16', '--out-strides', '4', '8'])
        assert f'# written by {named}; made to be edited' in out.read_text()


def test_what_works_instead_reaches_the_user(tool, own_config, tmp_path, capsys):
    out = tmp_path / 'mine.py'
    cfg = Config.fromfile(own_config)
    cfg.model.backbone = dict(type='TwoFacedBackbone')
    cfg.model.decode_head.in_index = 0
    cfg.dump(own_config)
    call = [str(own_config), '--out', str(out), '--diffusion', 'diff2in1_mm/rooms', '--side', '64']
    with pytest.raises(SystemExit):
        tool.main(call)
    said = capsys.readouterr().err
    assert 'TwoFacedBackbone gives other maps in training' in said and '--keep-backbone leaves it' in said
    assert not out.exists()
    tool.main([*call, '--keep-backbone'])
    # its head takes maps of another width: its own backbone does not serve it either
    cfg.model.decode_head.in_channels = 8
    cfg.dump(own_config)
    with pytest.raises(SystemExit):
        tool.main([*call, '--overwrite'])
    assert 'Nor does it work with --keep-backbone' in capsys.readouterr().err


def test_nothing_is_overwritten_unasked(tool, own_config, tmp_path, capsys):
    out = tmp_path / 'mine.py'
    out.write_text('precious')
    call = [str(own_config), '--out', str(out), '--out-channels', '0', '16', '--out-strides', '4', '8']
    with pytest.raises(SystemExit):
        tool.main(call)
    assert '--overwrite' in capsys.readouterr().err and out.read_text() == 'precious'
    with pytest.raises(SystemExit):
        tool.main([*call[:2], str(own_config), '--overwrite'])
    assert 'that the new one inherits' in capsys.readouterr().err
    tool.main([*call, '--overwrite'])
    assert Config.fromfile(out).model.backbone.out_channels == [None, 16]


def test_a_file_that_would_not_read_is_not_written(tool, tmp_path, capsys):
    out = tmp_path / 'mine.py'
    with pytest.raises(SystemExit) as stopped, tool.told_in_a_sentence('switch_in.py'):
        tool.write('a = = 1', str(out))
    assert stopped.value.code == 2
    assert 'cannot be read' in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--out', 'mine.txt'], 'must end with .py'),
        (['--out', 'mine.py', '--T', '0'], '1 to 999'),
        (['--out', 'mine.py', '--out-channels', '8'], 'one of each'),
        (['--out', 'mine.py'], "there is no config 'absent.py'"),
    ],
)
def test_bad_input(tool, tmp_path, monkeypatch, capsys, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        tool.main(['absent.py', *options])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize('more', [['--keep-backbone'], ['--T', '300'], ['--train', 'lora']])
def test_a_survey_takes_no_options_of_one_config(tool, tmp_path, capsys, more):
    with pytest.raises(SystemExit):
        tool.main(['--survey', 'mmseg', '--out', str(tmp_path / 'out'), *more])
    assert f'{more[0]} is for one config: a survey tries each way in turn' in capsys.readouterr().err
