"""The commands of an installed package: asked for help, named as they were called."""

import argparse
import importlib.util
import shutil
import subprocess
import sys

import pytest
from mmengine.config import DictAction

import diff2in1_commands
from diff2in1_commands import SCRIPTS, SOLVERS, add_config_options, as_called
from diff2in1_mm.creation.generator import DEFAULT_STEPS
from diff2in1_mm.switch_in.options import SwitchOptions
from diff2in1_mm.utils.errors import UserError, told_in_a_sentence

from .conftest import ROOT

# all in one process
ASK = """
import sys
import diff2in1_commands
for command in diff2in1_commands.SCRIPTS:
    sys.argv = [command, '--help']
    try:
        getattr(diff2in1_commands, command.removeprefix('diff2in1-').replace('-', '_'))()
    except SystemExit as end:
        assert end.code == 0
    print('=' * 9)
print(sorted({'torch', 'numpy', 'mmengine', 'diff2in1_mm'} & set(sys.modules)))
"""


@pytest.fixture
def called(monkeypatch):
    """As if the installed command was called."""
    monkeypatch.setattr(diff2in1_commands, '_called', 'diff2in1-train')


def script(name):
    """One of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_waits_for_no_library_and_names_the_command():
    asked = subprocess.run([sys.executable, '-c', ASK], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    *answers, imported = asked.stdout.split('=' * 9)
    assert imported.strip() == '[]'
    assert len(answers) == len(SCRIPTS)
    for command, answer in zip(SCRIPTS, answers):
        assert f'usage: {command} [-h]' in answer
        assert '.py CONFIG' not in answer and 'tools/' not in answer and 'configs/' not in answer
    assert 'diff2in1-train diff2in1_rooms.py\n' in answers[0]
    assert 'torchrun --nproc_per_node=2 $(which diff2in1-train) diff2in1_camvid.py' in answers[0]


def test_texts_are_left_as_they_are_for_a_script():
    assert as_called('python tools/train.py configs/a.py') == 'python tools/train.py configs/a.py'


@pytest.mark.usefixtures('called')
def test_sentences_name_the_command_that_was_called(capsys):
    with pytest.raises(SystemExit), told_in_a_sentence(diff2in1_commands.program()):
        raise UserError("give one that tools/create_data.py wrote; MMSegmentation's own tools/other.py")
    said = capsys.readouterr().err
    assert said == "diff2in1-train: give one that diff2in1-create-data wrote; MMSegmentation's own tools/other.py\n"
    with pytest.raises(SystemExit) as end:
        diff2in1_commands.stop('see demo/image_demo.py')
    assert end.value.code == 2 and capsys.readouterr().err == 'diff2in1-train: see diff2in1-demo\n'


def test_constants_of_command_lines_are_those_of_the_package():
    assert tuple(DEFAULT_STEPS) == SOLVERS
    given = script('switch_in').parse_args(['a.py', '--out', 'b.py'])
    assert (given.diffusion, given.dtype) == (SwitchOptions.diffusion, SwitchOptions.dtype)


def test_settings_are_read_as_mmengine_reads_them():
    given = ['a.b=1e-4', 'c=[1,(2,x)]', 'd.0.e=True', 'f=x=y']
    ours, theirs = argparse.ArgumentParser(), argparse.ArgumentParser()
    add_config_options(ours)
    theirs.add_argument('--cfg-options', nargs='+', action=DictAction)
    asked = ['--cfg-options', *given]
    assert ours.parse_args(asked) == theirs.parse_args(asked) and ours.parse_args([]).cfg_options is None


@pytest.mark.parametrize(
    'given, sentence',
    [
        (['foo'], '--cfg-options foo: write KEY=VALUE'),
        (['a.=3'], '--cfg-options a.=3: write KEY=VALUE'),
        (['a=[1,', '2]'], '--cfg-options 2]: write KEY=VALUE, lists as KEY="[a,b]" without spaces'),
        (['a=[1,2'], '--cfg-options a=[1,2: Imbalanced brackets exist in [1,2: close them'),
    ],
)
def test_settings_that_are_none_are_told_in_a_sentence(given, sentence, capsys):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(['--cfg-options', *given])
    said = capsys.readouterr().err
    assert end.value.code == 2 and sentence in said and said.count('\n') == 1


def test_make_tells_the_options_without_a_set_up(tmp_path):
    for name in ('Makefile', 'diff2in1_commands.py'):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools', ignore=shutil.ignore_patterns('__pycache__'))
    command = ['make', 'train', 'ARGS=--help', f'PYTHON={sys.executable}']
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert asked.returncode == 0 and 'usage: train.py' in asked.stdout, asked.stderr
    assert not (tmp_path / '.venv').exists() and 'set-up' not in asked.stdout
