"""tools/set_up.py: the cache of mmcv's wheel, what a kill leaves behind, and its sentences."""

import importlib
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'set_up.py'
CPU = dict(torch='2.13.0+cpu', cuda=None, gpu=False, nvcc='/usr/local/cuda', arch=None)
GPU = dict(torch='2.13.0+cu130', cuda='13.0', gpu=True, nvcc='/usr/local/cuda', arch='sm90')


@pytest.fixture(scope='module')
def set_up():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        return importlib.import_module('set_up')
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture
def build_mmcv(set_up):
    return sys.modules['build_mmcv']


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch):
    for name in ('FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'TORCH', 'OPS', 'MMCV', 'MMCV_INDEX', 'STACK'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def builder(tmp_path, build_mmcv, monkeypatch):
    """Makes a stand-in for the environment's Python, whose ``pip wheel`` runs a few shell lines.

    In the lines, ``$out`` is the wheel folder.
    """
    monkeypatch.setattr(build_mmcv, 'check_compiler', lambda: None)

    def make(lines):
        python = tmp_path / 'bin' / 'python'
        python.parent.mkdir(exist_ok=True)
        python.write_text('#!/bin/sh\nwhile [ "$1" != --wheel-dir ]; do shift; done; out=$2\n' + textwrap.dedent(lines))
        python.chmod(0o755)
        return python

    return make


GOOD = """
    echo '[1/3] c++ a'; echo '  [2/3] c++ b'; echo '[3/3] c++ c'
    echo built >> "$0.count"; echo wheel > $out/mmcv-2.1.0-cp311.whl
"""


def test_wheel_is_built_once_and_progress_is_shown(set_up, builder, tmp_path, capsys):
    python, folder = builder(GOOD), tmp_path / 'cache'
    first = set_up.build_wheel(python, folder, 'mmcv==2.1.0', 'cpu')
    again = set_up.build_wheel(python, folder, 'mmcv==2.1.0', 'cpu')
    assert first == again == folder / 'mmcv-2.1.0-cp311.whl' and first.read_text() == 'wheel\n'
    assert Path(f'{python}.count').read_text() == 'built\n'
    assert not list(folder.glob('building-*'))
    said = capsys.readouterr().out
    assert '1 of 3 files' in said and '3 of 3 files' in said


def test_failed_build_says_what_to_do_and_leaves_no_wheel(set_up, builder, tmp_path, capsys):
    python = builder("""
        echo half > $out/unfinished; echo 'x.cpp:3: error: no such thing'; exit 1
    """)
    with pytest.raises(set_up.SetUpError, match='did not build.*build.log') as caught:
        set_up.build_wheel(python, tmp_path / 'cache', 'mmcv==2.1.0', 'cpu')
    assert '\n' not in str(caught.value)
    assert 'no such thing' in capsys.readouterr().err
    assert set_up.cached_wheel(tmp_path / 'cache') is None
    assert not list((tmp_path / 'cache').glob('building-*'))


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_killed_build_leaves_nothing_half_and_the_next_one_works(set_up, builder, tmp_path, how):
    python, folder = builder('echo half > $out/mmcv-2.1.0-cp311.whl; exec sleep 30'), tmp_path / 'c'
    code = (
        'import pathlib, signal, sys\n'
        f'sys.path.insert(0, {str(SCRIPT.parent)!r})\n'
        'import build_mmcv as m\n'
        'm.check_compiler = lambda: None\n'
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
        f'm.build_wheel(pathlib.Path({str(python)!r}), pathlib.Path({str(folder)!r}), '
        '"mmcv==2.1.0", "cpu")\n'
    )
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL)
    until = time.time() + 30
    while not list(folder.glob('building-*/*.whl')) and time.time() < until:
        time.sleep(0.02)
    process.send_signal(how)
    process.wait()
    assert set_up.cached_wheel(folder) is None
    assert bool(list(folder.glob('building-*'))) == (how == signal.SIGKILL)
    wheel = set_up.build_wheel(builder(GOOD), folder, 'mmcv==2.1.0', 'cpu')
    assert wheel.read_text() == 'wheel\n' and not list(folder.glob('building-*'))


def test_key_tells_builds_apart(set_up, monkeypatch):
    keys = {
        set_up.wheel_key(CPU, 'mmcv==2.1.0', 'cpu'),
        set_up.wheel_key(GPU, 'mmcv==2.1.0', 'cpu'),
        set_up.wheel_key(GPU, 'mmcv==2.1.0', 'cuda'),
        set_up.wheel_key(CPU, 'mmcv==2.0.1', 'cpu'),
        set_up.wheel_key(CPU, 'onedl-mmcv==2.1.0', 'cpu'),
        set_up.wheel_key(dict(GPU, arch='sm80'), 'mmcv==2.1.0', 'cuda'),
    }
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0;9.0+PTX')
    keys.add(set_up.wheel_key(GPU, 'mmcv==2.1.0', 'cuda'))
    assert len(keys) == 7
    assert not any(c in key for key in keys for c in '/; ')


def test_choice_of_operators(set_up, monkeypatch, capsys):
    assert set_up.choose_ops('auto', CPU) == 'cpu'
    assert set_up.choose_ops('auto', GPU) == 'cuda'
    assert set_up.choose_ops('cpu', GPU) == 'cpu'
    assert set_up.choose_ops('auto', dict(GPU, gpu=False)) == 'cpu'
    assert set_up.choose_ops('auto', dict(GPU, nvcc=None)) == 'cpu'
    assert 'no nvcc' in capsys.readouterr().out
    with pytest.raises(set_up.SetUpError, match='CPU build'):
        set_up.choose_ops('cuda', CPU)
    with pytest.raises(set_up.SetUpError, match='CUDA toolkit 13.0'):
        set_up.choose_ops('cuda', dict(GPU, nvcc=None))
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert set_up.choose_ops('auto', dict(GPU, gpu=False)) == 'cuda'


def test_cpu_operators_hide_the_gpu_from_the_build(build_mmcv, tmp_path):
    env = build_mmcv.build_environment(tmp_path / 'bin' / 'python', tmp_path, 'cpu')
    assert env['CUDA_VISIBLE_DEVICES'] == '' and env['FORCE_CUDA'] == '0'
    assert env['PATH'].startswith(str(tmp_path / 'bin'))
    assert build_mmcv.build_environment(tmp_path, tmp_path, 'cuda')['FORCE_CUDA'] == '1'


def test_missing_compiler_is_named(set_up, build_mmcv, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(set_up.SetUpError, match='build-essential'):
        build_mmcv.check_compiler()


def test_old_python_is_named(set_up, monkeypatch, tmp_path):
    monkeypatch.setattr(set_up, 'MINIMUM_PYTHON', (9, 9))
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--venv', str(tmp_path / 'v')])
    with pytest.raises(set_up.SetUpError, match='9.9 or later is needed: .*PYTHON='):
        set_up.set_up(set_up.parse_args())


def test_nothing_is_done_where_the_stamp_fits(set_up, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--venv', str(tmp_path)])
    args = set_up.parse_args()
    (tmp_path / 'diff2in1_mm.stamp').write_text(set_up.stamp_of(args))

    def fail(*args, **kwargs):
        raise AssertionError('a step was taken')

    monkeypatch.setattr(set_up, 'make_venv', fail)
    set_up.set_up(args)
    monkeypatch.setenv('TORCH', 'torch==2.11.0')
    with pytest.raises(AssertionError, match='a step was taken'):
        set_up.set_up(set_up.parse_args())


@pytest.fixture
def steps(set_up, monkeypatch, tmp_path):
    """Names what ``install_mmcv`` does instead of doing it; ``here`` is what is installed and loads."""
    taken, here = [], {}
    monkeypatch.setattr(set_up, 'ask', lambda python, code: here.get('ops') if code == set_up.OPS_PROBE else '')
    monkeypatch.setattr(set_up, 'cache_folder', lambda: tmp_path)
    monkeypatch.setattr(set_up, 'remove_other_builds', lambda *args: None)
    monkeypatch.setattr(set_up, 'pip_install', lambda python, what, *packages: taken.append(str(packages[-1])))
    monkeypatch.setattr(set_up, 'install_prebuilt', lambda python, spec, index: index == 'has it')

    def build(python, folder, spec, ops):
        here['ops'] = f'{spec.partition("==")[2]} {ops}'
        taken.append('compiled')
        return tmp_path / 'built.whl'

    monkeypatch.setattr(set_up, 'build_wheel', build)

    def install(wanted='auto', spec='mmcv==2.1.0', index=None, ops=None, facts=CPU):
        taken.clear()
        here['ops'] = ops
        set_up.install_mmcv(tmp_path / 'bin' / 'python', facts, spec, wanted, index)
        return list(taken)

    return install


def test_mmcv_is_compiled_only_where_nothing_else_serves(set_up, steps, tmp_path):
    assert steps()[0] == 'compiled'
    assert steps(ops='2.1.0 cpu') == steps(ops='2.1.0 cuda') == []  # has them already
    assert steps(index='has it') == steps('ready', index='has it') == []  # prebuilt
    assert steps('ready') == steps('none') == ['mmcv-lite==2.1.0']
    assert steps('none', ops='2.1.0 cpu') == ['mmcv-lite==2.1.0']
    assert steps('ready', 'onedl-mmcv==2.3.6') == ['onedl-mmcv==2.3.6']  # the fork has no such release
    wheel = tmp_path / set_up.wheel_key(CPU, 'mmcv==2.1.0', 'cpu') / 'mmcv-2.1.0-cp311.whl'
    wheel.parent.mkdir()
    wheel.write_text('')
    with pytest.raises(set_up.SetUpError, match='do not load'):
        steps('ready')  # it takes the cached one, which is none


@pytest.mark.parametrize('kept', [True, False])
def test_python_files_are_compiled_at_once_only_where_an_import_keeps_none(set_up, monkeypatch, tmp_path, kept):
    commands = []
    monkeypatch.setattr(set_up, 'run', lambda command, failure, **kwargs: commands.append(command))
    monkeypatch.setattr(sys, 'dont_write_bytecode', not kept)
    set_up.pip_install(tmp_path / 'bin' / 'python', 'torch', 'torch==2.13.0')
    assert ('--no-compile' in commands[0]) == kept and commands[0][-1] == 'torch==2.13.0'


def test_stacks_choose_torch_and_mmcv_and_options_win(set_up, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--stack', 'onedl', '--venv', str(tmp_path)])
    assert set_up.parse_args().mmcv.startswith('onedl-mmcv==2.3')
    monkeypatch.setenv('MMCV', '2.3.5')
    monkeypatch.setenv('TORCH', 'system')
    args = set_up.parse_args()
    assert (args.mmcv, args.torch) == ('onedl-mmcv==2.3.5', 'system')
    constraints = set_up.write_constraints(tmp_path, 'onedl').read_text()
    assert 'onedl-mmengine==' in constraints and 'onedl-mmcv' not in constraints and 'torch==' not in constraints
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--stack', 'oldest'])
    monkeypatch.delenv('TORCH')
    assert set_up.parse_args().torch == 'torch==2.1.2'


def test_another_stack_gets_a_new_environment(set_up, monkeypatch, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text('')
    monkeypatch.setattr(set_up, 'ask', lambda python, code: '')
    made = []
    monkeypatch.setattr(set_up, 'run', lambda command, failure: made.append(command))
    for stamp, wanted in (
        ('onedl 12ab', True),
        ('default 12ab', False),
        ('12ab', False),
    ):  # the last of an older set-up
        (tmp_path / set_up.STAMP).write_text(stamp)
        made.clear()
        set_up.make_venv(tmp_path, 'default', system=False)
        assert bool(made) == wanted and all('--clear' in command for command in made)


def test_what_has_operators_is_enough_for_training(set_up, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--venv', str(tmp_path)])
    (tmp_path / set_up.STAMP).write_text(set_up.stamp_of(set_up.parse_args()))
    monkeypatch.setattr(set_up, 'make_venv', lambda *args, **kwargs: pytest.fail('a step was taken'))
    monkeypatch.setenv('OPS', 'ready')
    set_up.set_up(set_up.parse_args())
