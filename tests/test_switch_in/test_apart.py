import json
import os

import pytest

from diff2in1_mm.switch_in.apart import continued, read_records
from diff2in1_mm.utils.errors import UserError

from .. import processes  # noqa: F401  (its server has imported what the work needs)


def crash_at_the_second(group):
    for name in group:
        if name == 'b':
            os._exit(3)
        yield dict(config=name, said='works')


def test_a_crash_is_of_one_config_alone(tmp_path):
    path = str(tmp_path / 'records.jsonl')
    continued(path, ['abc', 'd'], crash_at_the_second, lambda name, said: dict(config=name, said=said), workers=2)
    assert read_records(path, ['config', 'said']) == {
        name: dict(config=name, said='its process ended with code 3' if name == 'b' else 'works') for name in 'abcd'
    }


def test_a_line_that_was_torn(tmp_path):
    path = tmp_path / 'records.jsonl'
    assert read_records(str(path), ['config']) == {}
    lines = [json.dumps(dict(config=name, said='')) for name in 'ab']
    path.write_text('\n'.join([*lines, lines[0][:9]]))  # killed here
    assert list(read_records(str(path), ['config'])) == ['a', 'b']
    path.write_bytes(path.read_bytes() + b'{"config": "c"}')  # whole, but for the end of its line
    assert list(read_records(str(path), ['config'])) == ['a', 'b'] and path.read_bytes().endswith(b'\n')
    assert path.read_text() == '\n'.join(lines) + '\n'
    with pytest.raises(UserError, match='is not of a survey: give another --out'):
        read_records(str(path), ['config', 'way'])
