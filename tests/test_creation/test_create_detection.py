"""Creation with detectors: what other tools read of the store, and photographs of all kinds."""

import copy
import json
import time

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, MODELS, init_default_scope

pytest.importorskip('mmdet')

from diff2in1_mm.creation.batch_labels import BatchLabels  # noqa: E402
from diff2in1_mm.creation.create import create  # noqa: E402
from diff2in1_mm.preflight.creation import check_creation  # noqa: E402
from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
from diff2in1_mm.utils.resources import tool_path  # noqa: E402

from ..detectors import CLASSES, STUFF, make_coco, run_config  # noqa: E402
from ..processes import Script  # noqa: E402
from ..stores import read_one, records_written
from ..test_self_improving.test_hook_detectors import check_coco  # noqa: E402
from ..versions import needs_detectors  # noqa: E402

pytestmark = needs_detectors
SETTINGS = dict(T=300, steps=1, batch_size=2, confidence=0.0, labelling=dict(allow_empty=True))


@pytest.fixture
def coco(tmp_path):
    return make_coco(tmp_path / 'set')


@pytest.fixture
def parts(coco, tmp_path, pipeline_folder):
    """Builds model, data set and config for a detector of the test."""

    def build(name='faster_rcnn', **load):
        init_default_scope('mmdet')
        torch.manual_seed(0)
        cfg = run_config(name, coco, tmp_path / 'run', pipeline_folder)
        cfg.train_dataloader.dataset.dataset.pipeline[0].update(load)
        model = MODELS.build(ConfigDict(cfg.model))
        model.init_weights()
        return model.eval(), DATASETS.build(cfg.train_dataloader.dataset.dataset), cfg

    return build


def read_as(kind, root, ann_file, **options):
    """A merged file of a store, as MMDetection's stock data set reads it."""
    return DATASETS.build(dict(type=kind, ann_file=str(root / ann_file), pipeline=[], **options))


def test_killed_and_continued_by_two_processes(parts, tmp_path):
    model, dataset, cfg = parts()
    cfg.custom_imports = dict(imports=['diff2in1_mm'])
    cfg.custom_hooks[0].creation = dict(SETTINGS, steps=20, copies_per_source=6)
    cfg.dump(str(tmp_path / 'c.py'))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    store = tmp_path / 's'
    process = Script([tool_path('tools/create_data.py'), 'c.py', 'w.pth', '--out', 's'], tmp_path)
    deadline = time.monotonic() + 120
    while records_written(store) < 4:
        assert process.poll() is None and time.monotonic() < deadline, process.said()
        time.sleep(0.005)
    process.kill()
    assert 4 <= len(SyntheticStore(store)) < 24
    for rank in (1, 0):
        create(model, dataset, str(store), seed=0, rank=rank, world_size=2, **cfg.custom_hooks[0].creation)
    whole = SyntheticStore(store)
    whole.merge()
    assert len(whole) == 24 and not whole.damaged
    check_coco(store, whole)


def test_objects_are_pasted_with_their_masks(parts, tmp_path):
    model, dataset, _ = parts('mask_rcnn')
    # nothing of the pictures changes: what an object shows is its colour (RGB)
    kept = dict(T=dict(default=1, square=0, disc=0), steps=1, batch_size=4, label_from='source')
    compose = dict(classes=['square', 'disc'], count=(2, 3), min_area=4, scale=(0.5, 0.8), shift=0.3)
    create(model, dataset, str(tmp_path / 's'), copies_per_source=2, compose=compose, **kept)
    store, pasted = SyntheticStore(tmp_path / 's'), 0
    assert store.settings['compose']['classes'] == ['square', 'disc']
    for record in store.records():
        image, found = read_one(store, record)
        assert record.quality['instances'] == len(found.labels)
        assert found.masks.sum(0).max() == 1
        for label, mask, (left, top, right, bottom) in zip(found.labels, found.masks, found.bboxes):
            wrong = np.abs(image[mask].astype(int) - ((250, 250, 80), (80, 250, 250))[label]).max(-1) > 30
            assert wrong.mean() < 0.35  # the rim of a resized thing, or of an outline
            rows, columns = np.nonzero(mask)
            assert abs(top - rows.min()) <= 1.5 and abs(bottom - rows.max() - 1) <= 1.5
            assert abs(left - columns.min()) <= 1.5 and abs(right - columns.max() - 1) <= 1.5
        sides = (found.bboxes[:, 2:] - found.bboxes[:, :2]).max(1)
        pasted += (sides < 20).sum()
    assert pasted > 4


def test_unlabelled_pictures_get_boxes_of_the_model(parts, coco, tmp_path):
    model, dataset, _ = parts()
    (tmp_path / 'more').mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (40, 56, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f'more/{i}.jpg'), noise)
    settings = dict(SETTINGS, label_from='source', unlabelled=f'{tmp_path}/more/*.jpg')
    create(model, dataset, str(tmp_path / 's'), **settings)
    store = SyntheticStore(tmp_path / 's')
    store.merge()
    check_coco(tmp_path / 's', store)
    made, pictures = ([r for r in store.records() if r.unlabelled == wanted] for wanted in (False, True))
    assert len(made) == 4 and len(pictures) == 3
    with torch.no_grad():
        found = BatchLabels(model, 'fresh', 0.0, dict(allow_empty=True), transforms=dataset.pipeline.transforms)
    for record in pictures:
        image, own = read_one(store, record)
        (again,) = found(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], {}, [dataset.get_data_info(0)])
        np.testing.assert_allclose(own.bboxes, again.annotation['instances'].bboxes, atol=0.02)
    for record in made:  # those of the source
        truth = [i['bbox'] for i in dataset.get_data_info(record.source)['instances']]
        np.testing.assert_allclose(read_one(store, record)[1].bboxes, truth, atol=0.02)


def test_stock_data_sets_read_boxes(parts, tmp_path):
    model, dataset, _ = parts('mask_rcnn')
    create(model, dataset, str(tmp_path / 's'), **SETTINGS)
    store = SyntheticStore(tmp_path / 's')
    store.merge()
    data = read_as(
        'CocoDataset',
        store.root,
        'instances.json',
        metainfo=dict(classes=CLASSES),
        data_prefix=dict(img=f'{store.root}/images/'),
    )
    assert len(data) == 4
    for info, record in zip(data, store.records()):
        assert info['img_path'] == store.image_path(record)
        _, annotation = read_one(store, record)
        assert [i['bbox_label'] for i in info['instances']] == annotation.labels.tolist()
        np.testing.assert_allclose([i['bbox'] for i in info['instances']], annotation.bboxes)
    # and pycocotools' own evaluation takes the file as ground truth and as detections
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(store.root / 'instances.json'))
    truth.info()
    found = copy.deepcopy(truth.dataset['annotations'])  # loadRes numbers them anew
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] > 0.9


def test_stock_data_sets_read_panoptic_maps(parts, tmp_path):
    model, dataset, _ = parts('mask2former_panoptic')
    create(model, dataset, str(tmp_path / 's'), **SETTINGS)
    store = SyntheticStore(tmp_path / 's')
    store.merge()
    names = CLASSES + STUFF
    data = read_as(
        'CocoPanopticDataset',
        store.root,
        'panoptic.json',
        data_prefix=dict(img=f'{store.root}/images/', seg=f'{store.root}/annotations/panoptic/'),
        metainfo=dict(classes=names, thing_classes=CLASSES, stuff_classes=STUFF),
    )
    assert len(data) == 4
    for info, record in zip(data, store.records()):
        _, annotation = read_one(store, record)
        assert [s['category'] for s in info['segments_info']] == annotation.labels.tolist()
        picture = cv2.imread(info['seg_map_path'])[..., ::-1].astype(int)
        np.testing.assert_array_equal(picture @ [1, 256, 65536], annotation.ids)


def test_photographs_of_all_kinds(parts, coco, tmp_path):
    """Grey, with alpha, smaller than the U-Net's stride; a crowd, a box without area."""
    content = json.loads((coco / 'instances.json').read_text())
    cv2.imwrite(str(coco / '0.png'), np.full((64, 64), 90, np.uint8))
    cv2.imwrite(str(coco / '1.png'), np.full((64, 64, 4), 90, np.uint8))
    cv2.imwrite(str(coco / '2.png'), np.full((3, 5, 3), 90, np.uint8))
    content['images'][2].update(width=5, height=3)
    for annotation in content['annotations']:
        if annotation['image_id'] == 2:
            annotation.update(bbox=[0, 0, 4, 3], area=12, segmentation=[[0, 0, 4, 0, 4, 3]])
    content['annotations'][0].update(bbox=[3, 3, 0, 5])
    content['annotations'][1].update(
        iscrowd=1, segmentation=dict(counts=[64 * 20, 64 * 10, 64 * 34], size=[64, 64])
    )  # as COCO writes crowds
    (coco / 'instances.json').write_text(json.dumps(content))
    for source, name in (('fresh', 'retinanet'), ('source', 'mask_rcnn')):
        model, dataset, _ = parts(name)
        create(model, dataset, str(tmp_path / source), label_from=source, **SETTINGS)
        store = SyntheticStore(tmp_path / source)
        store.merge()
        check_coco(tmp_path / source, store)
        found = [read_one(store, record) for record in store.records()]
        assert [image.shape for image, _ in found] == [(64, 64, 3)] * 2 + [(3, 5, 3), (64, 64, 3)]
    assert found[0][1].ignored.tolist() == [True] and found[0][1].masks.sum() == 640


@pytest.mark.parametrize('color_type, size', [('color', (64, 48)), ('color_ignore_orientation', (48, 64))])
def test_a_turned_photograph_is_taken_as_the_data_set_takes_it(parts, coco, tmp_path, color_type, size):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    content = json.loads((coco / 'instances.json').read_text())
    for entry in content['images']:
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[..., 0] = 250
        name = entry['file_name'].replace('png', 'jpg')
        entry.update(width=size[1], height=size[0], file_name=name)
        Image.fromarray(pixels).save(coco / name, exif=exif)
    (coco / 'instances.json').write_text(json.dumps(content))
    model, dataset, _ = parts(color_type=color_type)
    create(model, dataset, str(tmp_path / 's'), label_from='source', limit=1, **SETTINGS)
    store = SyntheticStore(tmp_path / 's')
    image, annotation = read_one(store, store.records()[0])
    assert image.shape == (*size, 3)
    wanted = [i['bbox'] for i in dataset.get_data_info(0)['instances']]
    np.testing.assert_allclose(annotation.bboxes[:, :2], np.array(wanted)[:, :2])


@pytest.mark.parametrize('name', ['faster_rcnn', 'mask_rcnn', 'mask2former_panoptic'])
def test_labels_of_a_look_at_another_scale(parts, tmp_path, name, monkeypatch):
    """As the stock test pipeline resizes; boxes, masks and maps lie in the stored pixels."""
    from mmdet.apis import inference_detector

    model, dataset, cfg = parts(name)
    create(model, dataset, str(tmp_path / 's'), limit=1, label_scale=(200, 96), **SETTINGS)
    store = SyntheticStore(tmp_path / 's')
    assert store.settings['label_scale'] == [200, 96]
    (record,) = store.records()
    image, found = read_one(store, record)
    assert image.shape == (64, 64, 3)
    model.cfg = cfg
    cfg.test_dataloader.dataset.pipeline[1].scale = (200, 96)
    seen, predict = [], model.predict
    monkeypatch.setattr(model, 'predict', lambda x, *a, **k: seen.append(x.shape) or predict(x, *a, **k))
    wanted = inference_detector(model, store.image_path(record))
    assert seen[0][-2:] == (96, 96)
    if name == 'mask2former_panoptic':
        assert found.ids.shape == (64, 64) and found.ids.max() <= len(found.labels)
        return
    boxes = wanted.pred_instances.bboxes.numpy()
    if name == 'mask_rcnn':  # whose boxes are not stored where their mask is empty
        near = np.abs(found.bboxes[:, None] - boxes).max(2) < 0.05
        assert near.any(1).all() and found.masks.shape[1:] == (64, 64)
        return
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 1).all(1)]
    assert len(boxes) and len(found.bboxes) == len(boxes)
    np.testing.assert_allclose(found.bboxes, boxes, atol=0.05)


def test_a_look_at_another_scale_is_for_detectors_that_look(parts):
    model, dataset, _ = parts()
    with pytest.raises(ValueError, match="'source' looks at no image.*to 'fresh'"):
        check_creation(model, dict(SETTINGS, label_from='source', label_scale=(96, 96)), dataset)
    with pytest.raises(ValueError, match=r'label_scale = \(96,\) must be'):
        check_creation(model, dict(SETTINGS, label_scale=(96,)), dataset)


def test_a_share_without_a_label_stops_only_a_process_that_is_alone(parts, tmp_path):
    model, dataset, _ = parts()
    settings = dict(SETTINGS, confidence=1.0, labelling=None, copies_per_source=3)
    report = create(model, dataset, str(tmp_path / 's'), rank=1, world_size=2, **settings)
    assert report.empty and not len(SyntheticStore(tmp_path / 's'))
    with pytest.raises(ValueError, match='none of 12 images was stored'):
        create(model, dataset, str(tmp_path / 's'), **settings)
