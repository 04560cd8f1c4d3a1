"""Config files that cannot be read, and settings that have no place in them, are told in a sentence."""

import pytest
from mmengine.config import Config

from diff2in1_mm.launch.read_config import check_has, merge_options, read_config
from diff2in1_mm.utils.errors import UserError


@pytest.mark.parametrize(
    'text, kind, sentence',
    [
        ('a = (\n', ValueError, r"read as a config \(SyntaxError: '\(' was never closed, line 1\): mend it first"),
        ('a = 1\nb = nowhere\n', ValueError, r"\(NameError: name 'nowhere' is not defined, line 2\): mend"),
        ('a = open("absent.txt")\n', ValueError, r"cannot be .*No such file or directory: 'absent.txt', line 1\)"),
        ("_base_ = './absent.py'\n", FileNotFoundError, 'inherits .*/absent.py, which does not exist: correct'),
        ("_base_ = 'mmseg::absent/a.py'\n", FileNotFoundError, 'inherits mmseg::absent/a.py, which does not exist'),
        ("_base_ = __import__('diff2in1_mm').config_path('absent.py')\n", FileNotFoundError, "no config 'absent.py'"),
        ("custom_imports = dict(imports=['absent'])\n", ImportError, r'Python does not find \(.*absent\): install it'),
    ],
)
def test_the_file_at_fault_is_named(tmp_path, text, kind, sentence):
    """Also where another config inherits it."""
    if 'mmseg' in text:
        pytest.importorskip('mmseg')
    faulty, heir = tmp_path / 'faulty.py', tmp_path / 'heir.py'
    faulty.write_text(text)
    heir.write_text("a = 2\n_base_ = './faulty.py'\n")
    with pytest.raises(UserError, match=sentence) as told:
        read_config(str(faulty))
    assert isinstance(told.value, kind) and str(told.value).startswith(str(faulty))
    with pytest.raises(UserError, match=sentence) as told:
        read_config(str(heir))
    named = str(heir) if 'import' in text else str(faulty)  # MMEngine imports when all has been read
    assert isinstance(told.value, kind) and str(told.value).startswith(named)


def test_what_is_missing_is_named():
    cfg = Config(dict(model=dict(), test_dataloader=None))
    check_has(cfg, 'a.py', 'model')
    with pytest.raises(UserError, match='a.py has no train_dataloader, test_dataloader: give the config of a whole'):
        check_has(cfg, 'a.py', 'model', 'train_dataloader', 'test_dataloader')


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'ok.new.part': 1, 'hooks.7.warm_up': 3}, 'hooks.7.warm_up: hooks has 2 items: give a number from 0 to 1'),
        ({'hooks.warm_up': 3}, 'hooks.warm_up: hooks is a list, .* write hooks.0 for the first'),
        ({'none.0.a': 3}, 'none.0.a: none has no items'),
        ({'ok.size.0': 3}, r'ok.size.0: MMEngine does not set single values .* set ok.size="\[a,b\]" as a whole'),
        ({'ok.T.low': 3}, 'ok.T.low: ok.T is 400, which has no parts: set ok.T itself'),
        ({'a': 3, 'a.b': 4}, 'a a.b cannot be set'),
    ],
)
def test_settings_without_a_place(options, sentence):
    content = dict(hooks=[dict(type='A'), dict(type='B')], none=[], ok=dict(size=[1, 2], T=400))
    cfg = Config(content)
    with pytest.raises(UserError, match=f'--cfg-options {sentence}'):
        merge_options(cfg, options)
    assert cfg.to_dict() == Config(content).to_dict()
    merge_options(cfg, {'hooks.1.x': 3, 'ok.new.part': 4})
    assert cfg.hooks[1] == dict(type='B', x=3) and cfg.ok.new.part == 4
