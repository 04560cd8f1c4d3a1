"""Folders that are replaced wholly or not at all."""

import os

import pytest

from diff2in1_mm.utils.atomic_folders import replace_folder


def test_folder_is_replaced_wholly_or_not_at_all(tmp_path):
    folder = tmp_path / 'out'

    def write(text, fail=False):

        def fill(path):
            with open(os.path.join(path, text), 'w', encoding='utf-8') as file:
                file.write(text)
            if fail:
                raise OSError('disk full')

        return fill

    replace_folder(str(folder), write('a'))
    replace_folder(str(folder), write('b'))
    assert os.listdir(folder) == ['b'] and os.listdir(tmp_path) == ['out']
    with pytest.raises(OSError, match='disk full'):
        replace_folder(str(folder), write('c', fail=True))
    assert os.listdir(folder) == ['b'] and os.listdir(tmp_path) == ['out']


def test_leftovers_of_a_killed_process(tmp_path):
    """Killed between the two renames: the last whole folder comes back, half ones go."""
    old = tmp_path / '.out.old-x' / 'out'
    old.mkdir(parents=True)
    (old / 'whole').touch()
    (tmp_path / '.out.new-y').mkdir()

    def fail(path):
        assert os.listdir(tmp_path / 'out') == ['whole']
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        replace_folder(str(tmp_path / 'out'), fail)
    assert os.listdir(tmp_path) == ['out'] and os.listdir(tmp_path / 'out') == ['whole']


@pytest.mark.parametrize('folder', ['.', '..'])
def test_the_folder_that_one_stands_in_stays(tmp_path, monkeypatch, folder):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here/file').touch()
    monkeypatch.chdir(tmp_path / 'here')
    with pytest.raises(ValueError, match='is where this command runs, and would be replaced: give a folder below it'):
        replace_folder(folder, lambda path: None)
    assert os.listdir() == ['file']
