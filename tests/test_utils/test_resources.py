"""Configs that come with the package, and how a user's config inherits from them."""

import sys

import pytest

from diff2in1_mm.utils import resources as paths


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A place with one config and one tool, as an installed package has."""
    root = tmp_path / 'resources'
    (root / 'configs' / '_base_').mkdir(parents=True)
    (root / 'configs' / 'diff2in1_camvid.py').write_text("model = dict(type='X', depth=3)\n")
    (root / 'configs' / '_base_' / 'small.py').write_text('width = 4\n')
    (root / 'tools').mkdir()
    (root / 'tools' / 'train.py').write_text('import sys; print(sys.argv[1:])\n')
    monkeypatch.setattr(paths, 'resources', lambda: root)
    monkeypatch.chdir(tmp_path)  # the checkout has files of the same names
    return root


def test_config_by_name_with_and_without_suffix(shipped):
    wanted = str(shipped / 'configs' / 'diff2in1_camvid.py')
    assert paths.config_path('diff2in1_camvid.py') == wanted
    assert paths.config_path('diff2in1_camvid') == wanted
    assert paths.config_path('_base_/small.py').endswith('_base_/small.py')


def test_unknown_config_names_the_closest(shipped):
    with pytest.raises(FileNotFoundError, match="no config 'diff2in1_camvit.py'.*diff2in1_camvid"):
        paths.config_path('diff2in1_camvit.py')


def test_command_line_takes_a_file_or_a_name(shipped, tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text('a = 1\n')
    assert paths.find_config(mine) == str(mine)
    assert paths.find_config('configs/diff2in1_camvid.py') == paths.config_path('diff2in1_camvid')
    with pytest.raises(FileNotFoundError, match='There is no file .*other.py.*diff2in1_mm has no'):
        paths.find_config('configs/other.py')


def test_command_runs_the_script_with_its_arguments(shipped, monkeypatch, capsys):
    import diff2in1_commands as commands

    monkeypatch.setattr(commands, '__file__', str(shipped / 'diff2in1_commands.py'))  # scripts lie beside it
    monkeypatch.setattr(sys, 'argv', ['diff2in1-train', 'a.py', '--resume'])
    commands.train()
    assert capsys.readouterr().out == "['a.py', '--resume']\n"
    with pytest.raises(FileNotFoundError, match='tools/test.py'):
        commands.test()
