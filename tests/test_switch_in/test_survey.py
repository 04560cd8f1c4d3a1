import json

import pytest

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in import survey as survey_module  # noqa: E402
from diff2in1_mm.switch_in.options import SwitchOptions  # noqa: E402
from diff2in1_mm.switch_in.survey import survey, table  # noqa: E402
from diff2in1_mm.utils.errors import UserError  # noqa: E402

from .. import processes  # noqa: E402, F401  (its server has imported what each config needs)

NAMES = [
    'mmseg::cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py',
    'mmseg::cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py',  # the same model, other crops
    'mmseg::nothing/there.py',
]


def test_a_survey_that_was_cut_off_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(survey_module, 'configs_of', lambda *args: NAMES)
    survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)
    kept = tmp_path / 'mmseg.jsonl'
    records = {record['config']: record for record in map(json.loads, kept.read_text().splitlines())}
    twin, works, refused = (records[name] for name in NAMES)
    for record, same_as in ((works, None), (twin, NAMES[1])):
        assert (record['way'], record['said'], record['same_as']) == ('diffusion backbone', '', same_as)
    assert refused['way'] is None and 'there is no config' in refused['said']

    with open(kept, 'a') as file:
        file.write('{"config": "mms')  # killed here
    monkeypatch.setattr(survey_module, 'continued', lambda path, left, *args: left and pytest.fail('tried again'))
    shown = survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)
    assert len(kept.read_text().splitlines()) == 3
    assert (tmp_path / 'mmseg.md').read_text() == shown and '| cgnet | 2 | 1 | 2 |' in shown

    kept.write_text('something else\n')
    with pytest.raises(UserError, match='is not of a survey: give another --out'):
        survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError, match='file is a file, and a survey writes into a folder'):
        survey('mmseg', str(tmp_path / 'file'), SwitchOptions(), None, 1)


def test_records_of_other_options_are_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(survey_module, 'configs_of', lambda *args: [])
    survey('mmseg', str(tmp_path), SwitchOptions(T=300), None, 1)
    survey('mmdet', str(tmp_path), SwitchOptions(T=300), None, 1)
    for options in (SwitchOptions(T=200), SwitchOptions()):
        with pytest.raises(UserError, match=r'holds a survey with another --T \(300\): give another --out'):
            survey('mmseg', str(tmp_path), options, None, 1)


def test_a_row_for_each_family():
    def record(family, way, said='', same_as=None):
        return dict(config=f'mmseg::{family}/{way}.py', family=family, way=way, said=said, same_as=same_as)

    lines = table(
        [
            record('b', 'own backbone', 'no | backbone'),
            record('b', 'own backbone', 'no | backbone', 'mmseg::b/first.py'),
            record('a', 'diffusion backbone'),
            record('a', None, 'it fails'),
        ],
        [dict(family='a', iterations=10, said=''), dict(family='b', iterations=0, said='the run fails')],
    ).splitlines()
    assert lines[2:] == [
        '| a | 2 | 2 | 1 |  |  | 1 | 10 | it fails |',
        '| b | 2 | 1 |  | 2 |  |  |  | no \\| backbone<br>the run fails |',
        '| **all** | 4 | 3 | 1 | 2 |  | 1 |  |  |',
    ]
