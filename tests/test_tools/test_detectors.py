"""Our tools, the demo and MMDetection's own API with detectors of boxes, masks, panoptic maps."""

import importlib.util
import json
import pickle
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmdet')

from diff2in1_mm.utils.resources import tool_path  # noqa: E402
from diff2in1_mm.visualization.predictor import predictor_for  # noqa: E402

from ..detectors import CLASSES, STUFF, make_coco, run_config  # noqa: E402
from ..versions import needs_detectors  # noqa: E402
from .test_train import tool  # noqa: E402

pytestmark = needs_detectors
KINDS = dict(boxes='faster_rcnn', masks='mask_rcnn', panoptic='mask2former_panoptic')


@pytest.fixture(scope='module', params=KINDS)
def trained(request, tmp_path_factory, pipeline_folder):
    """Config and checkpoint of a detector, as a run leaves them, and a photograph."""
    root = tmp_path_factory.mktemp(request.param)
    coco = make_coco(root / 'set')
    cfg = run_config(KINDS[request.param], coco, root / 'run', pipeline_folder)
    cfg.custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
    classes = CLASSES
    if request.param == 'panoptic':
        cfg.model.test_cfg.object_mask_thr = 0.0  # nobody has trained it
        classes += STUFF
    cfg.dump(str(root / 'config.py'))
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(cfg.model))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), root / 'weights.pth')
    return SimpleNamespace(
        kind=request.param,
        cfg=cfg,
        config=str(root / 'config.py'),
        checkpoint=str(root / 'weights.pth'),
        photo=str(coco / '0.png'),
        classes=classes,
    )


def differ(path, photo):
    picture, image = cv2.imread(str(path)), cv2.imread(photo)
    return picture.shape == image.shape and (picture != image).any()


def test_test(trained, tmp_path):
    tool('test').main(
        [
            trained.config,
            trained.checkpoint,
            '--work-dir',
            str(tmp_path),
            '--show-dir',
            'shown',
            '--out',
            str(tmp_path / 'found.pkl'),
        ]
    )
    (log,) = tmp_path.glob('*/*.json')
    metrics = json.loads(log.read_text())
    wanted = dict(boxes='coco/bbox_mAP', masks='coco/segm_mAP', panoptic='coco_panoptic/PQ')
    assert metrics[wanted[trained.kind]] >= 0
    assert len(pickle.loads((tmp_path / 'found.pkl').read_bytes())) == 4
    # image, truth beside prediction
    assert len(list(tmp_path.glob('*/shown/*.png'))) == 4


def test_boxes_of_the_mirror_image(trained, tmp_path, capsys):
    """What MMDetection's own tool does where the config says nothing of --tta."""
    arguments = [trained.config, trained.checkpoint, '--work-dir', str(tmp_path), '--tta']
    if trained.kind != 'boxes':
        with pytest.raises(SystemExit):
            tool('test').main(arguments)
        assert 'DetTTAModel has nothing for masks: leave it out' in capsys.readouterr().err
        return
    found = tmp_path / 'new' / 'found.pkl'
    tool('test').main([*arguments, '--out', str(found)])
    (log,) = tmp_path.glob('*/*.json')
    assert json.loads(log.read_text())['coco/bbox_mAP'] >= 0
    assert len(pickle.loads(found.read_bytes())) == 4
    with pytest.raises(SystemExit):
        tool('test').main([*arguments, '--out', '/proc/nothing/found.pkl'])
    assert '--out /proc/nothing cannot be written' in capsys.readouterr().err


def test_demo(trained, tmp_path):
    spec = importlib.util.spec_from_file_location('image_demo', tool_path('demo/image_demo.py'))
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    demo.main(
        [
            trained.photo,
            trained.config,
            trained.checkpoint,
            '--out-dir',
            str(tmp_path),
            '--score-thr',
            '0',
            '--generate',
            '--T',
            '300',
            '--steps',
            '1',
            '--copies',
            '1',
        ]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0.png', '0_variants.png']
    assert differ(tmp_path / '0.png', trained.photo)
    assert cv2.imread(str(tmp_path / '0_variants.png')) is not None


def test_mmdetections_own_api(trained, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    model = init_detector(trained.config, trained.checkpoint, device='cpu')
    assert model.dataset_meta['classes'] == trained.classes
    found = inference_detector(model, trained.photo)
    inferencer = DetInferencer(trained.config, trained.checkpoint, device='cpu', show_progress=False)
    own = inferencer(trained.photo, out_dir=str(tmp_path), pred_score_thr=0.0)['predictions'][0]
    assert differ(tmp_path / 'vis' / '0.png', trained.photo)
    np.testing.assert_allclose(np.reshape(own['bboxes'], (-1, 4)), found.pred_instances.bboxes, atol=1e-3)
    if trained.kind == 'masks':
        assert found.pred_instances.masks.shape[1:] == (64, 64) and len(own['masks'])
    if trained.kind == 'panoptic':
        assert found.pred_panoptic_seg.sem_seg.shape == (1, 64, 64)


@pytest.mark.parametrize('trained', ['panoptic'], indirect=True)
def test_pictures_of_panoptic_maps(trained):
    from mmengine.structures import PixelData

    predictor = predictor_for(trained.cfg, trained.checkpoint)
    # of one colour: matplotlib before 3.11 moves what it shows up by a pixel, each time
    image, found = np.full((64, 64, 3), 90, np.uint8), predictor.predict(trained.photo)
    values = torch.full((1, 64, 64), 3)  # wall
    values[:, :20], values[:, 20:30] = 1001, 4  # a disc, nothing
    found.pred_panoptic_seg = PixelData(sem_seg=values)
    assert predictor.present(found) == [3, 1]
    picture = predictor.draw(image, found)
    assert (picture[22:25] == image[22:25]).all() and (picture[40:] != image[40:]).any()
    # a model that is sure of nothing
    found.pred_panoptic_seg = PixelData(sem_seg=torch.full((1, 64, 64), 4))
    assert predictor.present(found) == []
    assert (predictor.draw(image, found) == image).all()
