"""The package with only one of MMSegmentation and MMDetection."""

import subprocess
import sys
import textwrap

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

from diff2in1_mm.utils import optional
from diff2in1_mm.utils.requirements import LIBRARIES

from ..versions import lines_of_ours

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {hidden!r}:
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)

sys.meta_path.insert(0, Hidden())
"""


def python_without(hidden, code):
    """Runs code in a process where the libraries named cannot be imported."""
    code = HIDE.format(hidden=hidden) + textwrap.dedent(code)
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


COMMANDS = {name: LIBRARIES[name].command for name in ('mmseg', 'mmdet')}


@pytest.mark.parametrize('hidden', [['mmseg'], ['mmdet'], ['mmseg', 'mmdet']])
def test_import_and_config_with_libraries_missing(hidden):
    result = python_without(
        hidden,
        f"""
        import diff2in1_mm
        from diff2in1_mm.utils.optional import check_config
        for name in {hidden!r}:
            assert name not in sys.modules
            try:
                check_config(dict(model=dict(type=name + '.Anything'), work_dir='x'))
            except ImportError as error:
                print(error)
    """,
    )
    assert result.returncode == 0, result.stderr
    assert 'requires torchvision' not in result.stderr  # see quiet.py
    sentences = lines_of_ours(result.stdout)
    assert len(sentences) == len(hidden)
    assert all(COMMANDS[name] in sentence for name, sentence in zip(hidden, sentences))


def test_placeholder_says_what_to_install(monkeypatch):
    registry = Registry('rooms')
    optional.register_placeholders(registry, 'mmdet', 'BoxThing')
    monkeypatch.setattr(optional, 'is_installed', lambda module: False)
    with pytest.raises(ImportError, match="BoxThing needs (onedl-)?mmdet.*pip install '(onedl-)?mmdet"):
        registry.build(dict(type='BoxThing', channels=3))


@pytest.mark.parametrize(
    'cfg',
    [
        dict(default_scope='mmdet'),
        dict(model=dict(head=[dict(type='Mine'), dict(type='mmdet.RPNHead')])),
        dict(model=ConfigDict(_scope_='mmdet', type='RPNHead')),
        Config(dict(model=dict(neck=dict(type='mmdet.FPN')))),
    ],
)
def test_scopes_are_found_wherever_they_are(cfg, monkeypatch):
    monkeypatch.setattr(optional, 'is_installed', lambda module: module != 'mmdet')
    with pytest.raises(ImportError, match='mmdet'):
        optional.check_config(cfg)


def test_config_of_installed_libraries_passes():
    optional.check_config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder')))


def test_the_library_of_a_config():
    """By its scope; configs of MMEngine's new style have none and name classes."""
    assert optional.scope_of(Config(dict(default_scope='mmdet', model=dict(type='X')))) == 'mmdet'
    assert optional.scope_of(Config(dict(model=dict(type='X', _scope_='mmseg')))) == 'mmseg'
    assert optional.scope_of(Config(dict(model=dict(type='mmdet.FasterRCNN')))) == 'mmdet'
    assert optional.scope_of(Config(dict(model=dict(type='Own')))) == ''
    assert optional.scope_of(Config(dict(default_scope=None))) == ''
    segmentors = pytest.importorskip('mmseg.models.segmentors')
    from diff2in1_mm.models.segmentors.normal_estimator import NormalEstimator

    for kind in (segmentors.EncoderDecoder, NormalEstimator):
        assert optional.scope_of(Config(dict(default_scope=None, model=dict(type=kind)))) == 'mmseg'
