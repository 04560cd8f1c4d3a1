"""Files of our own that may have been damaged."""

import pytest
from hypothesis import given, strategies as st

from diff2in1_mm.utils.json_files import read_json


def fits(content):
    return all(value > 0 for value in content['numbers'].values())


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '3', '{"numbers": [1]}', '{"numbers": {"a": "b"}}', '{"numbers": {"a": -1}}', '[' * 10**5]
)
def test_what_is_damaged_is_named_with_the_mend(tmp_path, text):
    path = tmp_path / 'own.json'
    path.write_text(text)
    with pytest.raises(OSError, match=r'own\.json is damaged: remove it'):
        read_json(path, fits, 'remove it')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_what_fits_is_given(tmp_path, encoding):
    path = tmp_path / 'own.json'
    path.write_text('{"numbers": {"ä": 2}}', encoding=encoding)
    assert read_json(path, fits, '') == dict(numbers={'ä': 2})
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / 'none.json', fits, '')


@given(st.binary(max_size=40))
def test_whatever_stands_there_is_either_given_or_named(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('any') / 'own.json'
    path.write_bytes(content)
    with pytest.raises(OSError, match='is damaged'):
        read_json(path, fits, 'remove it')
