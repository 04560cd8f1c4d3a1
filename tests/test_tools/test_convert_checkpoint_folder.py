"""tools/convert_checkpoint.py: what it does with its target and its files, and with a bug."""

import os

import pytest
from safetensors.torch import save_file

from ..original_layout import original_state, small_sd
from .test_convert_checkpoint import convert, refusal, tool


def test_nothing_is_overwritten_unasked(tmp_path, capsys):
    save_file(original_state(*small_sd()), tmp_path / 'sd.safetensors')
    command = (tmp_path / 'sd.safetensors', '--out', tmp_path / 'out')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'letter.txt').write_text('mine')
    assert 'is not the result of a conversion' in refusal(capsys, *command, '--force')
    (tmp_path / 'out' / 'letter.txt').unlink()
    convert(*command)
    assert 'or --force to replace it' in refusal(capsys, *command)
    convert(*command, '--force')


def test_a_target_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    (tmp_path / 'any.pth').touch()
    assert '--out /proc/nothing cannot be written' in refusal(capsys, tmp_path / 'any.pth', '--out', '/proc/nothing')


def test_bad_options_are_told_before_anything_is_read(tmp_path, capsys, monkeypatch):
    (tmp_path / 'w.pth').write_bytes(b'no checkpoint')
    given = (tmp_path / 'w.pth', '--out', tmp_path / 'out')
    assert 'neither an existing folder nor a hub id' in refusal(capsys, *given, '--diffusion', './typo')
    monkeypatch.setattr(os.path, 'ismount', lambda path: True)
    assert 'a mounted volume, which cannot be replaced' in refusal(capsys, *given)


def test_a_bug_keeps_its_traceback(tmp_path, monkeypatch):
    save_file(original_state(*small_sd()), tmp_path / 'sd.safetensors')
    script = tool('convert_checkpoint')
    monkeypatch.setattr(script, 'convert', lambda *args: float('a number'))
    with pytest.raises(ValueError, match='could not convert'):
        script.main([str(tmp_path / 'sd.safetensors'), '--out', str(tmp_path / 'out')])
