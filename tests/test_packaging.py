"""What a plain ``pip install`` of the package brings along."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from diff2in1_mm.utils.requirements import REQUIREMENTS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / 'setup.py').exists(), reason='not a checkout')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the sources with one config and one tool of its own, to look for."""
    copy = tmp_path_factory.mktemp('source') / 'checkout'
    copy.mkdir()
    junk = shutil.ignore_patterns('__pycache__')
    for name in ('diff2in1_mm', 'configs', 'tools', 'demo'):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=junk)
    for name in ('setup.py', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    (copy / 'configs' / '_base_').mkdir(parents=True, exist_ok=True)
    (copy / 'configs' / '_base_' / 'probe.py').write_text('probe = dict(depth=3, width=1)\n')
    (copy / 'configs' / 'probe.py').write_text("_base_ = './_base_/probe.py'\n")
    (copy / 'tools' / 'train.py').write_text('import sys; print("ran", sys.argv[1:])\n')
    return copy


def pip(*args, **kwargs):
    return subprocess.run(
        [sys.executable, '-m', 'pip', *map(str, args)], check=True, capture_output=True, text=True, **kwargs
    )


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    stale = source / 'build' / 'lib' / 'diff2in1_mm' / '.mim' / 'configs'
    stale.mkdir(parents=True)
    (stale / 'removed_long_ago.py').write_text('')
    pip('wheel', '--no-deps', '--no-build-isolation', '-w', out, source)
    return next(out.glob('diff2in1_mm-*.whl'))


def test_wheel_carries_the_folders_and_no_junk(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert 'diff2in1_mm/.mim/configs/_base_/probe.py' in names
    assert 'diff2in1_mm/.mim/tools/train.py' in names
    assert any(name.endswith('licenses/LICENSE') or name.endswith('/LICENSE') for name in names)
    assert not [
        n
        for n in names
        if 'removed_long_ago' in n or '__pycache__' in n or n.endswith('set_up.py') or n.startswith('tests/')
    ]


def test_source_distribution_carries_the_folders(source, tmp_path):
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'sdist', '-d', tmp_path], cwd=source, check=True, capture_output=True
    )
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        names = [name.partition('/')[2] for name in archive.getnames()]
    assert {'configs/_base_/probe.py', 'tools/train.py', 'setup.py', 'LICENSE'} <= set(names)


def test_installed_configs_are_inherited_from_mmsegmentations_own_tool(wheel, tmp_path):
    """MMSegmentation's tool has not imported the package when it parses the config."""
    mmseg = pytest.importorskip('mmseg')
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'misc' / 'print_config.py'
    site = tmp_path / 'site'
    pip('install', '--no-deps', '--no-index', '--target', site, wheel)
    user = tmp_path / 'user'
    user.mkdir()
    (user / 'mine.py').write_text("_base_ = __import__('diff2in1_mm').config_path('probe.py')\nprobe = dict(width=5)\n")
    env = dict(os.environ, PYTHONPATH=str(site))
    shown = subprocess.run([sys.executable, tool, 'mine.py'], cwd=user, env=env, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r'probe = dict\(depth=3, width=5\)', shown.stdout)

    command = site / 'bin' / 'diff2in1-train'
    ran = subprocess.run(
        [sys.executable, command, 'mine.py', '--resume'], cwd=user, env=env, capture_output=True, text=True
    )
    assert "ran ['mine.py', '--resume']" in ran.stdout, ran.stderr


def test_setup_asks_for_the_versions_that_the_import_checks():
    text = (ROOT / 'setup.py').read_text()
    for requirement in REQUIREMENTS:
        if requirement.module != 'mmcv':  # cannot be asked for, see setup.py
            assert f"'{requirement.distribution}{requirement.specifier}'" in text


def test_setup_keeps_to_opencv_4_and_a_numpy_with_dtypes():
    text = (ROOT / 'setup.py').read_text()
    assert "'opencv-python<5'" in text and "'numpy>=1.25'" in text


def test_every_command_runs_a_script_that_is_shipped():
    from diff2in1_mm.launch import commands as cli

    text = (ROOT / 'setup.py').read_text()
    names = re.findall(r"'([a-z-]+)'", text.partition('for name in (')[2].partition(')]')[0])
    assert {'train', 'convert-checkpoint'} <= set(names)
    for name in names:
        command = getattr(cli, name.replace('-', '_'))
        (script,) = [const for const in command.__code__.co_consts if str(const).endswith('.py')]
        assert (ROOT / script).is_file(), name
