import logging
import sys
import warnings

import pytest

from diff2in1_mm.launch.quiet_start import quiet_start


def built(start, folder):
    """As a Runner: a logger of the present standard output, and a folder."""
    with start.building():
        handler = logging.StreamHandler(sys.stdout)
        handler.emit(logging.makeLogRecord(dict(msg='what it is configured with')))
        (folder / 'log').mkdir(parents=True)
    return handler


def test_a_sentence_is_all_that_is_said_and_left(tmp_path, capsys):
    with pytest.raises(SystemExit), quiet_start(str(tmp_path / 'a' / 'b')) as start:
        built(start, tmp_path / 'a' / 'b')
        raise SystemExit(2)
    assert capsys.readouterr().out == '' and not list(tmp_path.iterdir())


def test_what_was_there_before_stays(tmp_path, capsys):
    (tmp_path / 'run' / 'precious').mkdir(parents=True)
    with pytest.raises(SystemExit), quiet_start(str(tmp_path / 'run')) as start:
        built(start, tmp_path / 'run')
        raise SystemExit(2)
    with pytest.raises(SystemExit), quiet_start(str(tmp_path / 'new' / 'run')) as start:
        built(start, tmp_path / 'new' / 'run')
        (tmp_path / 'new' / 'of another run').mkdir()
        raise SystemExit(2)
    assert capsys.readouterr().out == ''
    assert (tmp_path / 'run' / 'precious').is_dir()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['of another run']


@pytest.mark.parametrize('end', [RuntimeError('a bug'), KeyboardInterrupt(), SystemExit(1)])
def test_any_other_end_shows_the_log_and_leaves_the_folder(tmp_path, capsys, end):
    with pytest.raises(type(end)), quiet_start(str(tmp_path / 'run')) as start:
        built(start, tmp_path / 'run')
        assert capsys.readouterr().out == ''
        raise end
    assert capsys.readouterr().out == 'what it is configured with\n' and (tmp_path / 'run').is_dir()


def test_a_run_that_has_begun_keeps_what_it_said(tmp_path, capsys):
    with pytest.raises(SystemExit), quiet_start(str(tmp_path / 'run')) as start:
        handler = built(start, tmp_path / 'run')
        start.begin()
        handler.emit(logging.makeLogRecord(dict(msg='first iteration')))
        assert capsys.readouterr().out == 'what it is configured with\nfirst iteration\n'
        raise SystemExit(2)
    assert (tmp_path / 'run').is_dir() and capsys.readouterr().out == ''


def test_what_libraries_say_of_every_model_is_left_out_and_no_more(tmp_path, recwarn):
    with quiet_start(str(tmp_path / 'run')) as start, start.building():
        warnings.warn('``build_loss`` would be deprecated soon, please use ...')
        warnings.warn('a class weight is missing')
    warnings.warn('``build_loss`` would be deprecated soon, by a config of my own')
    assert [str(one.message)[:14] for one in recwarn] == ['a class weight', '``build_loss``']
