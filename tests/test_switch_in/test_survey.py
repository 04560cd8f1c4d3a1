import json

import pytest

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in import survey as survey_module  # noqa: E402
from diff2in1_mm.switch_in.options import SwitchOptions  # noqa: E402
from diff2in1_mm.switch_in.survey import configs_of, survey, table  # noqa: E402
from diff2in1_mm.utils.errors import UserError  # noqa: E402

from .. import processes  # noqa: E402, F401  (its server has imported what each config needs)

NAMES = ['mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py', 'mmseg::nothing/there.py']


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
    works, refused = sorted(map(json.loads, kept.read_text().splitlines()), key=lambda r: r['way'] is None)
    assert (works['config'], works['way'], works['said']) == (NAMES[0], 'diffusion backbone', '')
    assert refused['way'] is None and 'cannot be read as a config of an installed library' in refused['said']

    with open(kept, 'a') as file:
        file.write('{"config": "mms')  # killed here
    monkeypatch.setattr(survey_module, '_tried_apart', lambda *args: pytest.fail('tried again'))
    shown = survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)
    assert len(kept.read_text().splitlines()) == 2
    assert (tmp_path / 'mmseg.md').read_text() == shown and '| fastscnn | 1 | 1 |' in shown

    kept.write_text('something else\n')
    with pytest.raises(UserError, match='is not of a survey: give another --out'):
        survey('mmseg', str(tmp_path), SwitchOptions(), None, 1)


def test_a_row_for_each_family():
    def record(family, way, said=''):
        return dict(config=f'mmseg::{family}/{way}.py', family=family, way=way, said=said)

    lines = table(
        [
            record('b', 'own backbone', 'no | backbone'),
            record('b', 'own backbone', 'no | backbone'),
            record('a', 'diffusion backbone'),
            record('a', None, 'it fails'),
        ]
    ).splitlines()
    assert lines[2:] == [
        '| a | 2 | 1 |  |  | 1 | it fails |',
        '| b | 2 |  | 2 |  |  | no \\| backbone |',
        '| **all** | 4 | 1 | 2 |  | 1 |  |',
    ]
