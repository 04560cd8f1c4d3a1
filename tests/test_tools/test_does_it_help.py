"""tools/does_it_help.py: a whole comparison in small, and its sentences."""

import re

import pytest

from .. import tiny_runs as tiny
from .test_train import tool, write


@pytest.fixture(scope='module')
def does_it_help():
    return tool('does_it_help')


@pytest.fixture
def path(images, tmp_path):
    return write(tiny.config(images, tmp_path / 'unused', hook=dict(warm_up=4)), tmp_path / 'given')


@pytest.fixture
def call(does_it_help, path, tmp_path, tiny_create):
    return lambda *more: does_it_help.main([path, '--out', str(tmp_path / 'out'), *more])


def test_controls_and_methods_end_in_a_table_and_a_sentence(call, tmp_path, capsys):
    call('--seeds', '0', '1', '--share', '0.5', '--arms', 'real', 'method', 'regularised')
    printed = capsys.readouterr().out
    text = (tmp_path / 'out/does_it_help.md').read_text()
    assert text.strip() in printed
    assert len(re.findall(r'^\| (?:real|method|regularised): ', text, re.M)) == 3
    sentence = (
        r'"method": (?:no gain shown|a gain|a loss): [+-]\d+\.\d\d ± \d+\.\d\d mIoU against "\w+", the best control'
    )
    assert re.search(sentence, text)
    assert (tmp_path / 'out/does_it_help.png').read_bytes().startswith(b'\x89PNG')
    call('--seeds', '0', '--table')  # of what is there
    assert 'one seed cannot tell a gain from chance' in capsys.readouterr().out
    with pytest.raises(SystemExit):  # another length in the same folder
        call('--seeds', '0', '--share', '1')
    assert 'holds runs of other settings' in capsys.readouterr().err


@pytest.mark.parametrize(
    'more, sentence',
    [
        (['--arms', 'real', 'magic'], "--arms 'magic' is none of 'real', 'regularised', 'method'"),
        (['--arms', 'real', 'regularised'], '--arms needs a control and a method'),
        (['--seeds', '1', '1'], 'names one twice'),
        (['--metric', 'own'], "more or less of 'own' is better is not known: say it with --rule"),
        (['--rule', 'less'], '--rule less is about --metric: name that, too'),
        (['--cfg-options', 'model=None'], 'has no model: give the config of a whole run'),
        (['--share', '0'], 'must be above 0 and at most 1'),
        (['--cfg-options', 'custom_hooks=[]'], 'tools/switch_in.py writes both into it'),
        (['--table'], 'holds no finished run yet: leave out --table'),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(call, capsys, more, sentence):
    with pytest.raises(SystemExit) as stop:
        call(*more)
    assert stop.value.code
    told = capsys.readouterr().err + str(stop.value)
    assert sentence in told and 'Traceback' not in told
