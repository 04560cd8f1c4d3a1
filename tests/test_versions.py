"""The sentence a user gets where something unsupported is installed."""

import subprocess
import sys

import pytest

from diff2in1_mm.utils import requirements as versions
from diff2in1_mm.utils.requirements import REQUIREMENTS, Requirement

BY_MODULE = {r.module: r for r in REQUIREMENTS}


def one_sentence(text):
    return '\n' not in text.strip() and text.strip().endswith('.')


def test_this_environment_is_supported():
    versions.check_versions()


@pytest.mark.parametrize(
    'module, found',
    [
        ('torch', '2.5.1'),
        ('mmengine', '0.9.1'),
        ('mmengine', '0.11.0'),
        ('mmcv', '2.2.0'),
        ('mmcv', '1.7.2'),
        ('mmseg', '0.30.0'),
        ('mmdet', '2.28.2'),
        ('diffusers', '0.30.0'),
        ('transformers', '4.57.0'),
    ],
)
def test_unsupported_version_is_named_with_what_to_install(module, found, monkeypatch):
    monkeypatch.setattr(versions.importlib.metadata, 'version', lambda name: found)
    problem = versions.problem_of(BY_MODULE[module])
    assert one_sentence(problem)
    assert found in problem and BY_MODULE[module].distribution in problem
    assert BY_MODULE[module].command in problem


@pytest.mark.parametrize('found', ['2.6.0', '2.11.0+cu130', '2.13.0+cpu', '2.14.0.dev20260101'])
def test_builds_and_previews_of_torch_are_supported(found, monkeypatch):
    monkeypatch.setattr(versions.importlib.metadata, 'version', lambda name: found)
    assert versions.problem_of(BY_MODULE['torch']) is None


def test_missing_library_is_named_unless_it_is_optional(monkeypatch):
    monkeypatch.setattr(versions, 'is_installed', lambda module: False)
    problem = versions.problem_of(BY_MODULE['diffusers'])
    assert one_sentence(problem) and "pip install 'diffusers>=" in problem
    assert versions.problem_of(BY_MODULE['mmdet']) is None


def test_library_on_the_path_without_metadata(tmp_path, monkeypatch):
    (tmp_path / 'a_checkout_of_something.py').write_text("__version__ = '3.1'")
    monkeypatch.syspath_prepend(tmp_path)
    requirement = Requirement('a_checkout_of_something', 'a-checkout-of-something', '>=3.2')
    assert versions.installed_version(requirement) == '3.1'
    assert '3.1' in versions.problem_of(requirement)


def test_mmcv_without_operators_is_named(monkeypatch):
    monkeypatch.setattr(versions, 'is_installed', lambda module: module != 'mmcv._ext')
    problem = versions.problem_of_ops()
    assert one_sentence(problem) and 'mmcv-lite' in problem and versions.MMCV_INSTALL in problem


def test_operators_of_another_torch_are_named(monkeypatch):
    real = versions.importlib.import_module

    def import_module(name):
        if name == 'mmcv._ext':
            raise ImportError('_ext.so: undefined symbol: _ZN2at4_ops')
        return real(name)

    monkeypatch.setattr(versions.importlib, 'import_module', import_module)
    problem = versions.problem_of_ops()
    assert one_sentence(problem) and 'undefined symbol' in problem and '--no-binary mmcv' in problem


def test_import_of_the_package_stops_with_the_sentence():
    code = (
        'import importlib.metadata as m; real = m.version\n'
        "m.version = lambda name: '0.8.0' if name == 'mmengine' else real(name)\n"
        'import diff2in1_mm'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1] == (
        'ImportError: diff2in1_mm needs mmengine>=0.10.5,<0.11 but found mmengine 0.8.0: '
        "run `pip install 'mmengine>=0.10.5,<0.11'`."
    )


def bring(folder, distribution, version, module):
    """A distribution as pip leaves it, without its files."""
    info = folder / f'{distribution.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n')
    (folder / f'{module}.py').write_text(f"__version__ = '{version}'")


def test_a_fork_under_the_same_import_name_is_to_go_first(tmp_path, monkeypatch):
    requirement = Requirement('a_forked_one', 'a-forked-one', '>=2.0,<2.2')
    monkeypatch.setitem(versions._RIVALS, 'a_forked_one', ('onedl-a-forked-one',))
    monkeypatch.syspath_prepend(tmp_path)
    bring(tmp_path, 'onedl-a-forked-one', '2.3.1', 'a_forked_one')
    problem = versions.problem_of(requirement)
    assert one_sentence(problem) and 'found is 2.3.1 of onedl-a-forked-one' in problem
    assert 'pip uninstall -y onedl-a-forked-one`, then `pip install' in problem
    bring(tmp_path, 'a-forked-one', '2.1.0', 'a_forked_one')
    problem = versions.problem_of(requirement)
    assert one_sentence(problem) and 'are installed over each other' in problem
    assert 'pip uninstall -y a-forked-one onedl-a-forked-one`, then' in problem


def test_the_forks_of_openmmlab_are_known():
    forks = {name for names in versions._RIVALS.values() for name in names}
    assert {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmdetection'} <= forks
    assert set(versions._RIVALS) <= set(BY_MODULE)
