"""Boxes and panoptic maps mixed into MMDetection's data sets, and bad ones named."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS, init_default_scope

pytest.importorskip('mmdet')

from diff2in1_mm.preflight.boxes import check_boxes  # noqa: E402
from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
from diff2in1_mm.tasks.instances import Instances  # noqa: E402
from diff2in1_mm.tasks.panoptic import PanopticMap  # noqa: E402

from ..detectors import CLASSES, STUFF, make_coco, run_config  # noqa: E402
from ..test_tasks.test_instances_files import record  # noqa: E402

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(32, 32)),
    dict(type='PackDetInputs'),
]


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.fixture
def coco(tmp_path):
    return make_coco(tmp_path / 'set')


def real_config(name, root):
    return run_config(name, root, 'w', 'p').train_dataloader.dataset.dataset


def mixed(dataset, store):
    mix = DATASETS.build(dict(type='SyntheticMixDataset', dataset=dataset, store=store and str(store.root)))
    mix.serve(0)
    return mix


def store_of(root, task, classes, annotation, sources=(0,)):
    store = SyntheticStore.prepare(root, [task], classes, 'f', {})
    for source in sources:
        store.add(record(source, 0, 0), np.full((64, 64, 3), 200, np.uint8), {task: annotation})
    return store


def one_box(masks=None):
    return Instances(np.array([[8.0, 16, 24, 48]]), np.array([1]), np.array([0.9]), np.array([False]), masks)


def masked(coco, tmp_path):
    """A data set's config without flips, a store of one object, and its mask (1, 64, 64)."""
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 16:48, 8:24] = True
    config = real_config('mask_rcnn', coco)
    config.pipeline[-2].prob = 0.0
    return config, store_of(tmp_path / 's', 'instances', CLASSES, one_box(masks)), masks


def test_coco_with_masks(coco, tmp_path):
    config, store, masks = masked(coco, tmp_path)
    sample = mixed(config, store)[4]['data_samples']
    assert sample.synthetic and sample.gt_instances.labels.tolist() == [1]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[8, 16, 24, 48]]
    np.testing.assert_array_equal(sample.gt_instances.masks.masks[0], masks[0])


def test_polygons_where_the_pipeline_wants_them(coco, tmp_path):
    config, store, _ = masked(coco, tmp_path)
    config.pipeline[1].poly2mask = False
    sample = mixed(config, store)[4]['data_samples']
    assert len(sample.ignored_instances) == 0 and sample.gt_instances.labels.tolist() == [1]
    assert sample.gt_instances.masks.areas[0] == pytest.approx(32 * 16, rel=0.1)


@pytest.mark.parametrize('mixing', [False, True])
def test_objects_for_a_detector_with_a_semantic_head(coco, tmp_path, mixing):
    """The source image's map does not show the sample: all of its pixels are ignored; real images keep theirs."""
    config = real_config('htc', coco)
    if mixing:  # a wrapper that packs the samples
        config = dict(type='mmdet.MultiImageMixDataset', pipeline=[config.pipeline.pop()], dataset=config)
    masks = np.ones((1, 64, 64), bool)
    mix = mixed(config, store_of(tmp_path / 's', 'instances', CLASSES, one_box(masks)))
    samples = [mix[i] for i in (0, 4)]
    assert [sample['data_samples'].synthetic for sample in samples] == [False, True]
    processor = MODELS.build(dict(type='mmdet.DetDataPreprocessor', pad_size_divisor=96, pad_mask=True, pad_seg=True))
    batch = processor({key: [sample[key] for sample in samples] for key in samples[0]}, training=True)
    found = torch.stack([sample.gt_sem_seg.sem_seg for sample in batch['data_samples']])
    assert found.shape == (2, 1, 96, 96) and (found[1] == 255).all()
    assert sorted(set(found[0, :, :64, :64].flatten().tolist())) == [0, 1, 2, 3]


def test_label_maps_that_a_store_has_beside_objects(coco, tmp_path):
    store = SyntheticStore.prepare(tmp_path / 's', ['segmentation', 'instances'], CLASSES, 'f', {})
    labels = dict(segmentation=np.full((64, 64), 1, np.uint8), instances=one_box(np.ones((1, 64, 64), bool)))
    store.add(record(0, 0, 0), np.full((64, 64, 3), 200, np.uint8), labels)
    sample = mixed(real_config('htc', coco), store)[4]['data_samples']
    assert sample.synthetic and (sample.gt_sem_seg.sem_seg == 1).all()


def test_objects_alone_get_no_map(coco, tmp_path):
    config, store, _ = masked(coco, tmp_path)
    assert 'gt_sem_seg' not in mixed(config, store)[4]['data_samples']


def test_panoptic(coco, tmp_path):
    ids = np.zeros((64, 64), int)
    ids[:32], ids[40:50, 10:20] = 1, 2
    store = store_of(tmp_path / 's', 'panoptic', CLASSES + STUFF, PanopticMap(ids, np.array([2, 0]), 2))
    config = real_config('mask2former_panoptic', coco)
    config.pipeline[-2].prob = 0.0
    sample = mixed(config, store)[4]['data_samples']
    assert sample.gt_instances.labels.tolist() == [0]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[10, 40, 20, 50]]
    semantic = sample.gt_sem_seg.sem_seg[0].numpy()
    assert (semantic[:32] == 2).all() and (semantic[33:40] == 255).all()


def test_voc(tmp_path):
    root = tmp_path / 'VOC2007'
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    cv2.imwrite(str(root / 'JPEGImages/a.jpg'), np.zeros((64, 64, 3), np.uint8))
    (root / 'Annotations/a.xml').write_text(
        '<annotation><size><width>64</width><height>64</height></size><object><name>disc</name>'
        '<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>'
        '<ymax>9</ymax></bndbox></object></annotation>'
    )
    (root / 'ImageSets/Main/train.txt').write_text('a\n')
    store = store_of(tmp_path / 's', 'instances', CLASSES, one_box())
    mix = mixed(
        dict(
            type='VOCDataset',
            data_root=str(root),
            ann_file='ImageSets/Main/train.txt',
            data_prefix=dict(sub_data_root=''),
            metainfo=dict(classes=CLASSES),
            pipeline=PIPELINE,
        ),
        store,
    )
    assert mix[0]['data_samples'].gt_instances.labels.tolist() == [1]
    sample = mix[1]['data_samples']
    assert sample.synthetic and sample.gt_instances.bboxes.tensor.tolist() == [[4, 8, 12, 24]]
    assert check_boxes(mix) == 1


def test_mosaic_keeps_kinds_apart(coco, tmp_path):
    store = store_of(tmp_path / 's', 'instances', CLASSES, one_box(), sources=range(4))
    inner = real_config('faster_rcnn', coco)
    inner.pipeline = PIPELINE[:2]
    mosaic = dict(
        type='MultiImageMixDataset',
        dataset=inner,
        pipeline=[dict(type='Mosaic', img_scale=(64, 64), pad_val=200.0), dict(type='PackDetInputs')],
    )
    mix = mixed(mosaic, store)
    synthetic, real = mix[5], mix[0]
    assert synthetic['data_samples'].synthetic and not real['data_samples'].synthetic
    assert (synthetic['inputs'] == 200).all()  # four synthetic pictures, no real pixel
    assert set(synthetic['data_samples'].gt_instances.labels.tolist()) <= {1}
    assert not (real['inputs'] == 200).all()


def test_mixup_keeps_kinds_apart(coco, tmp_path):
    store = store_of(tmp_path / 's', 'instances', CLASSES, one_box(), sources=range(4))
    inner = real_config('faster_rcnn', coco)
    inner.pipeline = PIPELINE[:2]
    mix = mixed(
        dict(
            type='MultiImageMixDataset',
            dataset=inner,
            pipeline=[dict(type='MixUp', img_scale=(64, 64), pad_val=200.0), dict(type='PackDetInputs')],
        ),
        store,
    )
    for index in range(4, 8):
        assert (mix[index]['inputs'] == 200).all()


def test_remembered_images_are_of_one_kind(coco, tmp_path):
    """CachedMosaic joins an image with those that its pipeline saw before."""
    store = store_of(tmp_path / 's', 'instances', CLASSES, one_box(), sources=range(4))
    config = real_config('faster_rcnn', coco)
    config.pipeline = [
        *PIPELINE[:2],
        dict(type='CachedMosaic', img_scale=(64, 64), pad_val=200.0),
        dict(type='CachedMixUp', img_scale=(64, 64), pad_val=200.0),
        PIPELINE[-1],
    ]
    mix = mixed(config, store)
    for _ in range(4):
        real, synthetic = ([mix[i] for i in range(first, first + 4)] for first in (0, 4))
    assert all((sample['inputs'] == 200).all() for sample in synthetic)
    assert {sample['inputs'].shape for sample in synthetic} == {(3, 128, 128)}  # joined
    assert not any((sample['inputs'] == 200).all() for sample in real)
    remembered = mix.real.pipeline.transforms[2].results_cache
    assert remembered and all('set/' in entry['img_path'] for entry in remembered)


def test_images_of_all_kinds(coco, tmp_path):
    """Grey, with alpha, and smaller than the U-Net's stride; crowds and boxes without area."""
    content = json.loads((coco / 'instances.json').read_text())
    cv2.imwrite(str(coco / '0.png'), np.full((64, 64), 90, np.uint8))
    cv2.imwrite(str(coco / '1.png'), np.full((64, 64, 4), 90, np.uint8))
    cv2.imwrite(str(coco / '2.png'), np.full((3, 5, 3), 90, np.uint8))
    content['images'][2].update(width=5, height=3)
    for annotation in content['annotations']:
        if annotation['image_id'] == 2:
            annotation.update(bbox=[0, 0, 4, 3], segmentation=[[0, 0, 4, 0, 4, 3]])
    content['annotations'][0].update(bbox=[3, 3, 0, 5])
    content['annotations'][1].update(iscrowd=1)
    (coco / 'instances.json').write_text(json.dumps(content))
    config = dict(real_config('faster_rcnn', coco), pipeline=PIPELINE)
    mix = mixed(config, store_of(tmp_path / 's', 'instances', CLASSES, one_box(), range(4)))
    for index in range(8):
        assert mix[index]['inputs'].shape == (3, 32, 32)
    assert len(mix[0]['data_samples'].gt_instances) == 0
    assert len(mix[0]['data_samples'].ignored_instances) == 1
    assert check_boxes(mix) == 1


def test_categories_that_do_not_match(coco):
    config = real_config('faster_rcnn', coco)
    config.metainfo = dict(classes=('square', 'triangle'))
    with pytest.raises(ValueError, match='categories square, disc.*triangle would never'):
        check_boxes(DATASETS.build(config))


@pytest.mark.parametrize('name', ['faster_rcnn', 'mask2former_panoptic'])
def test_classes_in_another_order_than_the_files(name, coco):
    config = real_config(name, coco)
    right = dict(config.metainfo)
    config.metainfo = dict(right, classes=('disc', 'square', *right['classes'][2:]))
    with pytest.raises(ValueError, match='in the order square, disc.*classes as disc, square'):
        check_boxes(DATASETS.build(config))
    config.metainfo = right
    assert check_boxes(DATASETS.build(config)) == 1


def test_panoptic_categories_that_do_not_match(coco):
    config = real_config('mask2former_panoptic', coco)
    config.metainfo.classes = ('square', 'triangle', *STUFF)
    with pytest.raises(ValueError, match='segments of the category id 2'):
        mixed(config, None)


def test_a_field_that_lacks_is_no_category(coco):
    content = json.loads((coco / 'instances.json').read_text())
    del content['images'][0]['height']
    (coco / 'instances.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has no field 'height': add it"):
        mixed(real_config('faster_rcnn', coco), None)


def test_ids_of_objects_that_are_no_categories(coco):
    content = json.loads((coco / 'instances.json').read_text())
    for annotation in content['annotations']:
        annotation['category_id'] -= 1  # counted from 0, as some tools write them
    content['info'] = dict(description='"categories": [1]')  # text, not the list
    (coco / 'instances.json').write_text(json.dumps(content))
    config = real_config('faster_rcnn', coco)
    with pytest.raises(ValueError, match='ids 0, but its categories have the ids 1, 2'):
        check_boxes(DATASETS.build(config))
    # a part of the classes, on purpose
    make_coco(coco / 'other')
    config = real_config('faster_rcnn', coco / 'other')
    config.metainfo = dict(classes=('disc',))
    assert check_boxes(DATASETS.build(config)) == 1


def test_no_object_at_all(coco):
    content = json.loads((coco / 'instances.json').read_text())
    content['annotations'] = []
    (coco / 'instances.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='none of the 4 images'):
        check_boxes(DATASETS.build(real_config('faster_rcnn', coco)))


def without_objects(root, keep=(), categories=True):
    """Images of which only some have objects."""
    content = json.loads((make_coco(root) / 'instances.json').read_text())
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in keep]
    if not categories:
        content['categories'] = []
    (root / 'instances.json').write_text(json.dumps(content))
    return dict(real_config('faster_rcnn', root), filter_cfg=dict(filter_empty_gt=False))


@pytest.mark.parametrize('categories', [True, False])
def test_images_of_background_only_beside_others(coco, tmp_path, logged, categories):
    negatives = without_objects(tmp_path / 'negatives', categories=categories)
    members = [negatives, real_config('faster_rcnn', coco)]
    assert check_boxes(DATASETS.build(dict(type='ConcatDataset', datasets=members))) == 2
    warned = [message for message in logged if 'No object' in message]
    assert len(warned) == 1 and 'negatives/instances.json (4 images)' in warned[0]
    with pytest.raises(ValueError, match='none of the 8 images of CocoDataset has an object'):
        check_boxes(DATASETS.build(dict(type='ConcatDataset', datasets=[negatives] * 2)))


@pytest.mark.parametrize('image', range(4))
def test_objects_are_looked_for_everywhere(tmp_path, monkeypatch, logged, image):
    """As in videos, where nothing happens at first."""
    monkeypatch.setattr('diff2in1_mm.preflight.boxes._ENTRIES', 2)
    assert check_boxes(DATASETS.build(without_objects(tmp_path / 'set', keep=[image]))) == 1
    assert not any('No object' in message for message in logged)


def test_an_image_that_cannot_be_read(coco):
    """SyntheticMixDataset goes on without it, others would end there."""
    (coco / '0.png').write_bytes(b'not an image')
    config = real_config('faster_rcnn', coco)
    assert check_boxes(DATASETS.build(dict(type='SyntheticMixDataset', dataset=config))) == 1
    with pytest.raises(ValueError, match='set/0.png cannot be read .*repair the file'):
        check_boxes(DATASETS.build(config))


def test_a_turned_photograph(coco):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    content = json.loads((coco / 'instances.json').read_text())
    for entry in content['images']:
        entry.update(width=64, height=48, file_name=entry['file_name'].replace('png', 'jpg'))
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(coco / entry['file_name'], exif=exif)
    (coco / 'instances.json').write_text(json.dumps(content))
    config = real_config('faster_rcnn', coco)
    with pytest.raises(ValueError, match='48 x 64 pixels.*EXIF.*annotation says 64 x 48'):
        check_boxes(DATASETS.build(config))
    config.pipeline[0].color_type = 'color_ignore_orientation'
    assert check_boxes(DATASETS.build(config)) == 1
