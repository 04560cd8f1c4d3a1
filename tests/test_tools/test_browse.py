"""tools/browse.py: numbers that make no page."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--port', '99999'], '--port 99999 is no port: give one from 1024 to 65535'),
        (['--port', '-1'], '--port -1 is no port'),
        (['--html', 'page', '--limit', '-3'], '--limit -3 shows nothing: give 1 or more'),
        (['--html', 'page', '--limit', '0'], '--limit 0 shows nothing'),
    ],
)
def test_numbers_out_of_range(options, sentence, capsys):
    spec = importlib.util.spec_from_file_location('browse_tool', ROOT / 'tools' / 'browse.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.raises(SystemExit) as end:
        tool.main(['store', *options])
    said = capsys.readouterr().err
    assert end.value.code == 2 and sentence in said and said.count('\n') == 1
