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


@pytest.fixture
def installed(monkeypatch):
    """Lets the metadata speak of other distributions than those that are installed."""

    def pretend(**versions_of):
        def version(name):
            if name.replace('-', '_') in versions_of:
                return versions_of[name.replace('-', '_')]
            raise versions.importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(versions.importlib.metadata, 'version', version)

    return pretend


@pytest.mark.parametrize(
    'module, distribution, found',
    [
        ('torch', 'torch', '2.0.1'),
        ('numpy', 'numpy', '1.25.2'),
        ('mmengine', 'mmengine', '0.9.1'),
        ('mmengine', 'onedl_mmengine', '0.11.0'),
        ('mmcv', 'mmcv', '1.7.2'),
        ('mmcv', 'onedl_mmcv', '2.4.0'),
        ('mmseg', 'mmsegmentation', '0.30.0'),
        ('mmdet', 'mmdet', '2.28.2'),
        ('mmdet', 'onedl_mmdetection', '3.6.0'),
        ('diffusers', 'diffusers', '0.30.0'),
        ('transformers', 'transformers', '4.45.2'),
    ],
)
def test_unsupported_version_is_named_with_what_to_install(module, distribution, found, installed):
    installed(**{distribution: found})
    requirement = BY_MODULE[module]
    problem = versions.problem_of(requirement)
    assert one_sentence(problem)
    assert f'found {distribution.replace("_", "-")} {found}' in problem and requirement.command in problem
    assert distribution.replace('_', '-') in requirement.command


SUPPORTED = dict(
    torch=['2.1.2+cu121', '2.6.0', '2.13.0+cpu', '2.14.0.dev20260101'],
    numpy=['1.26.4', '2.4.6'],
    mmengine=['0.10.1', '0.10.7'],
    onedl_mmengine=['0.10.12'],
    mmcv=['2.0.1', '2.1.0'],
    mmcv_lite=['2.1.0'],
    onedl_mmcv=['2.3.6'],
    mmsegmentation=['1.2.2'],
    onedl_mmsegmentation=['1.4.2'],
    onedl_mmdetection=['3.5.1'],
    diffusers=['0.31.0', '0.42.1'],
    transformers=['4.46.3', '5.24.0'],
)


@pytest.mark.parametrize('distribution, found', [(name, version) for name in SUPPORTED for version in SUPPORTED[name]])
def test_every_stack_is_supported_whichever_distribution_brings_it(distribution, found, installed):
    installed(**{distribution: found})
    (requirement,) = [r for r in REQUIREMENTS if distribution.replace('_', '-') in r.distributions]
    assert versions.problem_of(requirement) is None


def test_advice_names_the_forks_where_they_are_in_use(installed, monkeypatch):
    monkeypatch.setattr(versions, 'is_installed', lambda module: module != 'mmcv')
    installed(onedl_mmengine='0.10.12')
    assert "'onedl-mmcv==2.3.6'`." in versions.problem_of(BY_MODULE['mmcv'])
    assert BY_MODULE['mmseg'].command.startswith("pip install 'onedl-mmsegmentation>=")
    installed(mmengine='0.10.7')
    assert "--no-binary mmcv 'mmcv==2.1.0'`." in versions.problem_of(BY_MODULE['mmcv'])


@pytest.mark.parametrize(
    'found, sentence',
    [
        (
            dict(torch='2.1.2', transformers='5.24.0'),
            "transformers 5.24.0 needs torch>=2.4 but found torch 2.1.2: run `pip install 'transformers<5'`.",
        ),
        (dict(torch='2.2.2', numpy='2.0.0'), "run `pip install 'numpy<2'`."),
        (dict(mmcv='2.2.0', mmsegmentation='1.2.2', mmdet='3.4.0'), 'mmcv 2.2.0 needs mmsegmentation>=1.3 but found'),
        (dict(mmcv_lite='2.2.0', mmdet='3.3.0'), "run `pip install 'mmcv-lite<2.2'`."),
    ],
)
def test_libraries_that_do_not_go_together_are_named(found, sentence, installed):
    everything = dict(torch='2.13', numpy='2.4', mmcv='2.1', mmsegmentation='1.2', mmdet='3.3', transformers='5.1')
    installed(**everything)
    assert not any(map(versions.problem_of_pairing, versions.PAIRINGS))
    if 'mmcv_lite' in found:
        del everything['mmcv']
    installed(**{**everything, **found})
    said = [text for text in map(versions.problem_of_pairing, versions.PAIRINGS) if text]
    assert any(sentence in text for text in said) and all(map(one_sentence, said))


def test_missing_library_is_named_unless_it_is_optional(monkeypatch):
    monkeypatch.setattr(versions, 'is_installed', lambda module: False)
    problem = versions.problem_of(BY_MODULE['diffusers'])
    assert one_sentence(problem) and "pip install 'diffusers>=" in problem
    assert versions.problem_of(BY_MODULE['mmdet']) is None


def test_library_on_the_path_without_metadata(tmp_path, monkeypatch):
    (tmp_path / 'a_checkout_of_something.py').write_text("__version__ = '3.1'")
    monkeypatch.syspath_prepend(tmp_path)
    requirement = Requirement('a_checkout_of_something', ('a-checkout-of-something',), '>=3.2')
    assert versions.installed_version(requirement) == '3.1'
    assert '3.1' in versions.problem_of(requirement)


def test_import_of_the_package_stops_with_the_sentence():
    code = (
        'import importlib.metadata as m; real = m.version\n'
        "m.version = lambda name: '0.8.0' if name == 'diffusers' else real(name)\n"
        'import diff2in1_mm'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1] == (
        "ImportError: diff2in1_mm needs diffusers>=0.31 but found diffusers 0.8.0: run `pip install 'diffusers>=0.31'`."
    )


def bring(folder, distribution, version, module):
    """A distribution as pip leaves it, without its files."""
    info = folder / f'{distribution.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n')
    (folder / f'{module}.py').write_text(f"__version__ = '{version}'")


def test_two_distributions_over_one_import_name_are_the_broken_state(tmp_path, monkeypatch):
    requirement = Requirement('a_forked_one', ('a-forked-one', 'onedl-a-forked-one'), '>=2.0,<2.4')
    monkeypatch.syspath_prepend(tmp_path)
    bring(tmp_path, 'onedl-a-forked-one', '2.3.1', 'a_forked_one')
    assert versions.problem_of(requirement) is None
    bring(tmp_path, 'a-forked-one', '2.1.0', 'a_forked_one')
    monkeypatch.setattr(versions, 'uses_forks', lambda: False)
    problem = versions.problem_of(requirement)
    assert one_sentence(problem) and 'a-forked-one and onedl-a-forked-one are installed over each other' in problem
    assert "pip uninstall -y a-forked-one onedl-a-forked-one`, then `pip install 'a-forked-one'`" in problem
    monkeypatch.setattr(versions, 'uses_forks', lambda: True)
    assert "then `pip install 'onedl-a-forked-one'`" in versions.problem_of(requirement)


def test_the_forks_of_openmmlab_are_known():
    known = {name for requirement in REQUIREMENTS for name in requirement.distributions}
    assert {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmdetection'} <= known
