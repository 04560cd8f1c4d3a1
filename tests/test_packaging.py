"""What a plain ``pip install`` of the package brings along."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import diff2in1_commands
from diff2in1_commands import SCRIPTS
from diff2in1_mm.utils.requirements import REQUIREMENTS

from .versions import needs_operators

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = 'diff2in1_mm/assets/rooms'
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
    for name in ('setup.py', 'diff2in1_commands.py', 'MANIFEST.in', 'LICENSE', 'README.md'):
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


def test_wheel_carries_the_folders_the_embedded_model_and_no_junk(wheel):
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    sums = json.loads(archive.read(f'{EMBEDDED}/checksums.json'))
    assert 'unet/diffusion_pytorch_model.safetensors' in sums
    assert all(hashlib.sha256(archive.read(f'{EMBEDDED}/{name}')).hexdigest() == sums[name] for name in sums)
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
    assert {f'{EMBEDDED}/checksums.json', f'{EMBEDDED}/unet/diffusion_pytorch_model.safetensors'} <= set(names)


@needs_operators
def test_installed_configs_are_inherited_from_mmsegmentations_own_tool(wheel, tmp_path):
    """MMSegmentation's tool has not imported the package when it parses the config."""
    mmseg = pytest.importorskip('mmseg')
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'misc' / 'print_config.py'
    site = tmp_path / 'site'
    pip('install', '--no-deps', '--no-index', '--target', site, wheel)
    user = tmp_path / 'user'
    user.mkdir()
    (user / 'mine.py').write_text(
        "_base_ = __import__('diff2in1_mm').config_path('probe.py')\nprobe = dict(width=5)\n"
        "source = __import__('diff2in1_mm.diffusion.loading.embedded', fromlist=['']).locate('diff2in1_mm/rooms')\n"
    )
    env = dict(os.environ, PYTHONPATH=str(site))
    shown = subprocess.run([sys.executable, tool, 'mine.py'], cwd=user, env=env, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r'probe = dict\(depth=3, width=5\)', shown.stdout)
    assert f"source = '{site / EMBEDDED}'" in shown.stdout

    command = site / 'bin' / 'diff2in1-train'
    ran = subprocess.run(
        [sys.executable, command, 'mine.py', '--resume'], cwd=user, env=env, capture_output=True, text=True
    )
    assert "ran ['mine.py', '--resume']" in ran.stdout, ran.stderr


@pytest.fixture(scope='module')
def metadata(source, tmp_path_factory):
    """What pip is told: the requirements of a plain install ('') and of each extra, by name."""
    out = tmp_path_factory.mktemp('egg')
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', out]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    asked, extra = {'': {}}, ''
    for line in filter(None, (out / 'diff2in1_mm.egg-info' / 'requires.txt').read_text().splitlines()):
        if line.startswith('['):
            extra = line.strip('[]')
            asked[extra] = {}
        else:
            requirement = Requirement(line)
            asked[extra][requirement.name] = requirement.specifier
    return asked


def test_pip_is_asked_for_versions_that_the_import_takes(metadata):
    named = {name: specifier for extra in metadata.values() for name, specifier in extra.items()}
    for requirement in REQUIREMENTS:
        asked = {name: named[name] for name in requirement.distributions if name in named}
        assert asked or requirement.module == 'mmcv', requirement.module  # that cannot be asked for, see setup.py
        for name, specifier in asked.items():
            floors = [part.version for part in specifier if part.operator == '>=']
            assert floors and all(floor in SpecifierSet(requirement.specifier) for floor in floors), name
            assert len(requirement.distributions) > 1 or specifier == SpecifierSet(requirement.specifier), name


def test_a_plain_install_brings_no_library_that_has_two_distributions(metadata):
    plain = set(metadata[''])
    assert not [r.module for r in REQUIREMENTS if len(r.distributions) > 1 and plain & set(r.distributions)]
    assert not plain & {'setuptools', 'peft', 'opencv-python'}
    assert {'onedl-mmengine', 'onedl-mmsegmentation', 'onedl-mmdetection'} <= set(metadata['onedl'])
    assert not set(metadata['onedl']) & {'mmengine', 'mmsegmentation', 'mmdet', 'setuptools'}
    assert {'mmengine', 'setuptools'} <= set(metadata['seg']) & set(metadata['det']) & set(metadata['stock'])
    assert all(str(metadata[extra]['opencv-python']) == '<5' for extra in ('seg', 'det', 'stock', 'onedl'))


@pytest.mark.parametrize('stack', ['default', 'oldest', 'newest', 'onedl'])
def test_every_stack_is_one_that_the_import_takes(stack):
    pins = dict(re.findall(r'^([\w-]+)==([\w.]+)', (ROOT / 'requirements' / f'{stack}.txt').read_text(), re.M))
    for requirement in REQUIREMENTS:
        brought = [name for name in requirement.distributions if name in pins]
        assert len(brought) == 1 or requirement.module == 'numpy', requirement.module
        assert all(pins[name] in SpecifierSet(requirement.specifier) for name in brought), brought


def test_an_install_changes_no_version_that_is_there(wheel, tmp_path):
    """pip's own plan for our wheel and its extras, in this environment."""
    there = {dist.metadata['Name'].lower() for dist in importlib.metadata.distributions()}
    extras = 'onedl' if 'onedl-mmengine' in there else 'seg,det'
    report = tmp_path / 'report.json'
    try:
        pip('install', '--dry-run', '-q', '--report', report, f'{wheel}[{extras}]', timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip('pip finds no package index')
    planned = {item['metadata']['name'].lower() for item in json.loads(report.read_text())['install']}
    assert 'diff2in1-mm' in {name.replace('_', '-') for name in planned}
    assert not planned & there - {'diff2in1_mm', 'diff2in1-mm'}


def test_both_distributions_are_built_from_an_empty_folder_and_are_well_described(source, tmp_path):
    pytest.importorskip('build.env')
    pytest.importorskip('twine')
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp_path / 'dist', source]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = sorted((tmp_path / 'dist').iterdir())
    assert sorted(path.suffix for path in made) == ['.gz', '.whl']
    said = subprocess.run([sys.executable, '-m', 'twine', 'check', '--strict', *made], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_command_runs_a_script_that_is_shipped(wheel):
    archive = zipfile.ZipFile(wheel)
    (listed,) = (name for name in archive.namelist() if name.endswith('entry_points.txt'))
    asked = dict(re.findall(r'^([\w-]+) = diff2in1_commands:(\w+)', archive.read(listed).decode(), re.M))
    assert set(asked) == set(SCRIPTS) and 'diff2in1_commands.py' in archive.namelist()
    for command, name in asked.items():
        assert getattr(diff2in1_commands, name).args == (command,)
        assert f'diff2in1_mm/.mim/{SCRIPTS[command]}' in archive.namelist()


def test_the_image_is_built_by_steps_that_are_there():
    """No daemon is needed to see that every file, variable and option that the Dockerfile names exists."""
    text = (ROOT / 'Dockerfile').read_text()
    arguments = set(re.findall(r'^ARG (\w+)', text, re.M))
    assert arguments == {'BASE', 'STACK', 'TORCH', 'OPS', 'MAX_JOBS', 'XDG_CACHE_HOME'}
    (step,) = re.findall(r'^RUN make -C \S+ (.*?) \\$', text, re.M)
    values = dict(re.findall(r'^ARG (\w+)=(.*)', text, re.M))
    command = re.sub(r'\$\{(\w+)\}', lambda match: values[match[1]], step).split()
    shown = subprocess.run(['make', '-n', *command], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0 and 'tools/set_up.py' in shown.stdout, shown.stderr
    variables = {part.partition('=')[0]: part.partition('=')[2] for part in command if '=' in part}
    set_up = subprocess.run(
        [sys.executable, 'tools/set_up.py', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    assert set_up.returncode == 0, set_up.stderr
    entry = re.search(r'CMD \["([\w-]+)"', text)[1]
    assert entry in SCRIPTS


def test_the_citation_names_the_version():
    from diff2in1_mm import __version__

    assert f'\nversion: {__version__}\n' in (ROOT / 'CITATION.cff').read_text()
    assert f'## {__version__}\n' in (ROOT / 'CHANGELOG.md').read_text()
