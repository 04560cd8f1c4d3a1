import pytest

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in.apart import read_records  # noqa: E402
from diff2in1_mm.switch_in.options import SwitchOptions  # noqa: E402
from diff2in1_mm.switch_in.rehearsal import RUN_KEYS, _change, rehearsals  # noqa: E402

from .. import processes  # noqa: E402, F401  (its server has imported what each config needs)


def test_a_run_and_one_that_cannot_begin(tmp_path):
    good, bad = 'mmseg::cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py', 'mmseg::nothing/there.py'
    path = str(tmp_path / 'runs.jsonl')
    rehearsals({good: 'own backbone', bad: 'diffusion backbone'}, path, SwitchOptions(), iterations=2, workers=1)
    runs = read_records(path, RUN_KEYS)
    assert (runs[good]['iterations'], runs[good]['said']) == (2, '')
    assert runs[bad]['iterations'] == 0 and 'the run fails: there is no config' in runs[bad]['said']


def test_what_changes_in_a_model():
    model = dict(
        data_preprocessor=dict(type='SegDataPreProcessor', size=(512, 512)),
        backbone=dict(init_cfg=dict(type='Pretrained'), size=3),
        heads=[
            dict(num_classes=19, loss=dict(class_weight=[0.8] * 19)),
            dict(num_classes=19, loss=dict(class_weight=[1.0] * 19 + [0.1])),
            dict(num_things_classes=80, loss=dict(class_weight=None)),
        ],
    )
    _change(model, 3)
    assert model == dict(
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        backbone=dict(init_cfg=None, size=3),
        heads=[
            dict(num_classes=3, loss=dict(class_weight=[1.0] * 3)),
            dict(num_classes=3, loss=dict(class_weight=[1.0] * 3 + [0.1])),
            dict(num_things_classes=3, loss=dict(class_weight=None)),
        ],
    )
