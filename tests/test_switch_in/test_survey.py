import json
import os

import pytest

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in import survey as survey_module  # noqa: E402
from diff2in1_mm.switch_in.options import SwitchOptions  # noqa: E402
from diff2in1_mm.switch_in.survey import _try_apart, configs_of, groups_of, survey, table  # noqa: E402
from diff2in1_mm.utils.errors import UserError  # noqa: E402

from .. import processes  # noqa: E402, F401  (its server has imported what each config needs)

NAMES = [
    'mmseg::cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py',
    'mmseg::cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py',  # the same model, other crops
    'mmseg::nothing/there.py',
]


def test_every_family_is_drawn_from():
    all_names, drawn = configs_of('mmseg'), configs_of('mmseg', per_family=2, seed=3)
    assert len(all_names) > 600 and not any('_base_' in name for name in all_names)
    assert set(drawn) < set(all_names) and drawn == configs_of('mmseg', per_family=2, seed=3)
    folders = [name.partition('/')[0] for name in drawn]
    assert set(folders) == {name.partition('/')[0] for name in all_names}
    assert max(map(folders.count, folders)) == 2
    with pytest.raises(UserError, match='mmnothing is not installed.*install it'):
        configs_of('mmnothing')


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
    monkeypatch.setattr(survey_module, '_try_apart', lambda *args: pytest.fail('tried again'))
    shown = survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)
    assert len(kept.read_text().splitlines()) == 3
    assert (tmp_path / 'mmseg.md').read_text() == shown and '| cgnet | 2 | 1 | 2 |' in shown

    kept.write_text('something else\n')
    with pytest.raises(UserError, match='is not of a survey: give another --out'):
        survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)


def test_the_models_of_a_group_differ_in_depth_at_most():
    names = configs_of('mmseg', per_family=2)[:12]
    groups = groups_of([*names, 'mmseg::nothing/there.py'])
    assert sorted(name for group in groups for name in group) == sorted([*names, 'mmseg::nothing/there.py'])
    family = [group[0].split('/')[0] for group in groups]
    assert len(set(family[: len(set(family))])) == len(set(family))  # one of each before a second of any


def test_a_crash_is_of_one_config_alone(monkeypatch):
    monkeypatch.setattr(survey_module, '_send', crash_at_the_second)
    records = []
    _try_apart(['mmseg::a/1.py', 'mmseg::a/2.py', 'mmseg::a/3.py'], SwitchOptions(), records.append)
    assert [(r['config'][-4], r['way']) for r in records] == [('1', 'works'), ('2', None), ('3', 'works')]
    assert records[1]['said'] == 'its process ended with code 3'


def crash_at_the_second(pipe, group, options):
    for name in group:
        if name.endswith('2.py'):
            os._exit(3)
        pipe.send(dict(config=name, way='works'))


def test_a_row_for_each_family():
    def record(family, way, said='', same_as=None):
        return dict(config=f'mmseg::{family}/{way}.py', family=family, way=way, said=said, same_as=same_as)

    lines = table(
        [
            record('b', 'own backbone', 'no | backbone'),
            record('b', 'own backbone', 'no | backbone', 'mmseg::b/first.py'),
            record('a', 'diffusion backbone'),
            record('a', None, 'it fails'),
        ]
    ).splitlines()
    assert lines[2:] == [
        '| a | 2 | 2 | 1 |  |  | 1 | it fails |',
        '| b | 2 | 1 |  | 2 |  |  | no \\| backbone |',
        '| **all** | 4 | 3 | 1 | 2 |  | 1 |  |',
    ]
