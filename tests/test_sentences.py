"""What bad input looks like to a user, and what a bug looks like."""
import numpy as np
import pytest
from mmengine.registry import MODELS

from diff2in1_mm.datasets import render_room
from diff2in1_mm.diffusion import check_strength
from diff2in1_mm.sentences import told_in_a_sentence


def build_inside_a_registry():
    MODELS.build(dict(type='DiffusionBackbone', diffusion='./nowhere'))


def said(capsys, work):
    with pytest.raises(SystemExit) as ended:
        with told_in_a_sentence('tool.py'):
            work()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_bad_input_is_one_line(capsys):
    line = said(capsys, lambda: check_strength(2000, 1000))
    assert line.startswith('tool.py: T = 2000 is out of range') and line.count('\n') == 1


def test_the_innermost_error_counts(capsys):
    assert said(capsys, build_inside_a_registry).startswith("tool.py: './nowhere' is neither")


def bug_after_a_handled_error():
    try:
        check_strength(2000, 1000)
    except ValueError:
        np.zeros(3).reshape(2, 2)


@pytest.mark.parametrize('bug', [
    bug_after_a_handled_error,
    lambda: np.zeros(3).reshape(2, 2),  # not ours
    lambda: render_room(0, 'wide'),  # raised below ours, by a call that fails
])
def test_a_bug_keeps_its_traceback(bug):
    with pytest.raises(Exception) as raised:
        with told_in_a_sentence('tool.py'):
            bug()
    assert not isinstance(raised.value, SystemExit)
