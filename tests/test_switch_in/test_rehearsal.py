import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in import rehearsal  # noqa: E402
from diff2in1_mm.switch_in.apart import read_records  # noqa: E402
from diff2in1_mm.switch_in.options import SwitchOptions  # noqa: E402
from diff2in1_mm.switch_in.rehearsal import RUN_KEYS, _change, rehearsals, rehearsed  # noqa: E402
from diff2in1_mm.utils.errors import UserError  # noqa: E402

from .. import processes  # noqa: E402, F401  (its server has imported what each config needs)


def test_a_run_and_one_that_cannot_begin(tmp_path):
    good, bad = 'mmseg::cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py', 'mmseg::nothing/there.py'
    path = str(tmp_path / 'runs.jsonl')
    rehearsals({good: 'own backbone', bad: 'diffusion backbone'}, path, SwitchOptions(), iterations=2, workers=1)
    runs = read_records(path, RUN_KEYS)
    assert (runs[good]['iterations'], runs[good]['said']) == (2, '')
    assert runs[bad]['iterations'] == 0 and 'the run fails: there is no config' in runs[bad]['said']


@pytest.mark.parametrize('error, tried', [(RuntimeError('too small'), [64, 320]), (UserError('no samples'), [64])])
def test_a_model_that_needs_larger_images(error, tried, monkeypatch):
    sides = []

    def run(cfg, task, iterations, folder, side):
        sides.append(side)
        if side == 64:
            raise error

    monkeypatch.setattr(rehearsal, 'rehearse', run)
    name = 'mmseg::cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py'
    (record,) = rehearsal._in_turn([name], {name: 'own backbone'}, SwitchOptions(), 2)
    assert sides == tried and record['iterations'] == (2 if len(tried) == 2 else 0)


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
    _change(model, 3, 64)
    assert model == dict(
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        backbone=dict(init_cfg=None, size=3),
        heads=[
            dict(num_classes=3, loss=dict(class_weight=[1.0] * 3)),
            dict(num_classes=3, loss=dict(class_weight=[1.0] * 3 + [0.1])),
            dict(num_things_classes=3, loss=dict(class_weight=None)),
        ],
    )


@pytest.mark.parametrize('name, maps', [('htc', True), ('htc-without-semantic', False)])
def test_a_semantic_head_gets_label_maps(name, maps, tmp_path):
    pytest.importorskip('mmdet')
    cfg = Config.fromstring(f"_base_ = 'mmdet::htc/{name}_r50_fpn_1x_coco.py'", '.py')
    cfg.custom_hooks = [dict(type='SelfImprovingHook', creation=dict())]
    rehearsed(cfg, 'instances', 2, str(tmp_path))
    with DefaultScope.overwrite_default_scope('mmdet'):
        sample = DATASETS.build(cfg.train_dataloader.dataset.dataset)[0]['data_samples']
    assert len(sample.gt_instances.masks) and ('gt_sem_seg' in sample) == maps
    if maps:
        assert sample.gt_sem_seg.sem_seg.max() < cfg.model.roi_head.semantic_head.num_classes == 12
