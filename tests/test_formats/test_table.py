"""Every export is read again, by its own library where one is installed, and says the same to the pixel."""

import io
import json
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from diff2in1_mm.formats import FORMATS, export
from diff2in1_mm.formats.samples import samples_of
from diff2in1_mm.store.reviews import Reviews
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.panoptic import PanopticMap

from ..test_store.samples import CLASSES, make_record
from .conftest import SIZE, disc, first, label_map, make_store, objects


def png(path):
    return np.asarray(Image.open(path))


def exported(store, to, tmp_path):
    folder = tmp_path / 'out'
    assert export(store, to, folder) == len(store)
    return folder


def check_image(path, sample):
    np.testing.assert_array_equal(png(path), sample.image)


def by_coco(path, sample, category_plus=1):
    """Boxes (x1 y1 x2 y2), classes, ignored and masks of the first image, by pycocotools."""
    coco = COCO(path)
    (image,) = (image for image in coco.imgs.values() if image['file_name'] == f'{sample.id}.png')
    found = coco.loadAnns(coco.getAnnIds(image['id'], iscrowd=None))
    boxes = np.array([a['bbox'] for a in found], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [coco.annToMask(a).astype(bool) for a in found if 'segmentation' in a]
    return boxes, [a['category_id'] - category_plus for a in found], [bool(a['iscrowd']) for a in found], masks


def test_objects_as_coco_and_fiftyone(things, tmp_path):
    sample = first(things)
    for to, folder, images in (('coco', 'annotations.json', 'images'), ('fiftyone', 'labels.json', 'data')):
        export(things, to, tmp_path / to)
        boxes, labels, ignored, masks = by_coco(tmp_path / to / folder, sample)
        np.testing.assert_array_equal(boxes, sample.annotation.bboxes)
        assert labels == [2, 0, 1] and ignored == [False, False, True]
        if sample.annotation.masks is not None:
            np.testing.assert_array_equal(masks, sample.annotation.masks)
        check_image(tmp_path / to / images / f'{sample.id}.png', sample)


def test_maps_and_segments_as_coco(maps, segments, tmp_path):
    sample = first(maps)
    _, labels, _, masks = by_coco(exported(maps, 'coco', tmp_path) / 'annotations.json', sample)
    again = np.full(sample.annotation.shape, 255)
    for label, mask in zip(labels, masks):
        again[mask] = label
    np.testing.assert_array_equal(again, sample.annotation)

    sample = first(segments)
    export(segments, 'coco', tmp_path / 'panoptic')
    content = json.loads((tmp_path / 'panoptic' / 'panoptic.json').read_text())
    (annotation,) = content['annotations']
    red, green, blue = np.moveaxis(png(tmp_path / 'panoptic' / 'panoptic' / annotation['file_name']).astype(int), -1, 0)
    np.testing.assert_array_equal(red + 256 * green + 65536 * blue, sample.annotation.ids)
    assert [s['category_id'] for s in annotation['segments_info']] == [1, 1, 3]
    assert [c['isthing'] for c in content['categories']] == [1, 1, 0]


def test_objects_as_voc(things, tmp_path):
    sample, folder = first(things), exported(things, 'voc', tmp_path)
    root = ET.parse(folder / 'Annotations' / f'{sample.id}.xml').getroot()
    boxes = np.array([[int(e.text) for e in found] for found in root.findall('object/bndbox')])
    np.testing.assert_array_equal(boxes - [1, 1, 0, 0], sample.annotation.bboxes)  # counted from 1, the far edge inside
    assert [found.findtext('name') for found in root.findall('object')] == ['tree', 'road', 'sky']
    assert [found.findtext('difficult') for found in root.findall('object')] == ['0', '0', '1']
    check_image(folder / 'JPEGImages' / f'{sample.id}.png', sample)
    if sample.annotation.masks is not None:
        shown = png(folder / 'SegmentationObject' / f'{sample.id}.png')
        assert set(np.unique(shown)) == {0, 1, 2, 255} and (shown[sample.annotation.masks[2]] == 255).all()


def test_objects_by_supervision(tmp_path):
    supervision = pytest.importorskip('supervision')
    store = make_store(tmp_path / 'store', 'instances', [objects(True)])
    sample = first(store)
    sure = ~sample.annotation.ignored
    for to in ('voc', 'yolo', 'coco'):
        export(store, to, tmp_path / to)
    dataset = supervision.DetectionDataset
    found = {
        'voc': dataset.from_pascal_voc(str(tmp_path / 'voc' / 'JPEGImages'), str(tmp_path / 'voc' / 'Annotations')),
        'coco': dataset.from_coco(
            str(tmp_path / 'coco' / 'images'), str(tmp_path / 'coco' / 'annotations.json'), force_masks=True
        ),
        'yolo': dataset.from_yolo(
            str(tmp_path / 'yolo' / 'images' / 'train'),
            str(tmp_path / 'yolo' / 'labels' / 'train'),
            str(tmp_path / 'yolo' / 'data.yaml'),
            force_masks=True,
        ),
    }
    for to, read in found.items():
        ((_, _, detections),) = read
        kept = sure if to == 'yolo' else slice(None)
        np.testing.assert_allclose(detections.xyxy, sample.annotation.bboxes[kept], atol=1 if to == 'yolo' else 1e-3)
        names = [read.classes[i] for i in detections.class_id]
        assert names == [CLASSES[i] for i in sample.annotation.labels[kept]], to
        if to != 'voc':
            np.testing.assert_array_equal(detections.mask, sample.annotation.masks[kept], to)


def test_objects_as_yolo(things, tmp_path):
    sample, folder = first(things), exported(things, 'yolo', tmp_path)
    lines = (folder / 'labels' / 'train' / f'{sample.id}.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines] == ['2', '0']  # YOLO knows no ignored objects
    size = np.array([30, 20])
    for line, box, place in zip(lines, sample.annotation.bboxes, range(2)):
        values = np.array(line.split()[1:], float).reshape(-1, 2) * size
        if sample.annotation.masks is None:
            np.testing.assert_allclose(np.concatenate([values[0] - values[1] / 2, values[0] + values[1] / 2]), box)
            continue
        drawn = cv2.fillPoly(np.zeros((20, 30), np.uint8), [values.round().astype(np.int32)], 1)
        np.testing.assert_array_equal(drawn, sample.annotation.masks[place])
    told = (folder / 'data.yaml').read_text()
    assert '  2: "tree"' in told and 'path' not in told  # else it is looked for where its reader stands


def test_masks_that_an_outline_cannot_say_are_counted(tmp_path, maps):
    ring = disc(8, 8, 5) & ~disc(8, 8, 2)
    store = make_store(tmp_path / 's', 'instances', [objects(True, [ring, disc(20, 12, 0), disc(1, 1, 2)])])
    with pytest.warns(UserWarning, match='1 masks have holes'):
        export(store, 'yolo', tmp_path / 'yolo')
    with pytest.raises(ValueError, match='yolo holds objects'):
        export(maps, 'yolo', tmp_path / 'no')


@pytest.mark.parametrize('to, image, label', [
    ('masks', 'images/{}.png', 'masks/{}.png'),
    ('fiftyone', 'data/{}.png', 'labels/{}.png'),
    ('hf-datasets', 'train/images/{}.png', 'train/labels/{}.png'),
    (
        'cityscapes',
        'leftImg8bit/train/synthetic/{}_leftImg8bit.png',
        'gtFine/train/synthetic/{}_gtFine_labelTrainIds.png',
    ),
])  # fmt: skip
def test_maps_as_files_of_class_indices(maps, segments, tmp_path, to, image, label):
    for store, name in ((maps, 'a'), (segments, 'b')):
        export(store, to, tmp_path / name)
        sample = first(store)
        check_image(tmp_path / name / image.format(sample.id), sample)
        expected = sample.annotation
        if store is segments:
            expected = np.append(255, sample.annotation.labels)[sample.annotation.ids]
        np.testing.assert_array_equal(png(tmp_path / name / label.format(sample.id)), expected)
        assert (tmp_path / name / 'classes.txt').read_text().split() == list(CLASSES)


def test_cityscapes_by_mmsegmentation_and_instances(maps, segments, tmp_path):
    folder = exported(maps, 'cityscapes', tmp_path)
    dataset = DATASETS.build(dict(
        type='mmseg.BaseSegDataset',
        data_root=str(folder),
        img_suffix='_leftImg8bit.png',
        seg_map_suffix='_gtFine_labelTrainIds.png',
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        metainfo=dict(classes=CLASSES, palette=[[0] * 3] * 3),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations'), dict(type='mmseg.PackSegInputs')],
    ))  # fmt: skip
    np.testing.assert_array_equal(dataset[0]['data_samples'].gt_sem_seg.data[0], first(maps).annotation)
    export(segments, 'cityscapes', tmp_path / 'b')
    (path,) = (tmp_path / 'b').rglob('*_instanceIds.png')
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, np.array([0, 1000, 1001, 3])[first(segments).annotation.ids])


def test_objects_that_cityscapes_cannot_number(tmp_path):
    classes = [f'c{i}' for i in range(80)]
    store = SyntheticStore.prepare(tmp_path / 'many', ['panoptic'], classes, 'f', {})
    segment = PanopticMap(np.ones(SIZE, int), np.array([79]), 80)
    store.add(make_record(0), np.zeros((*SIZE, 3), np.uint8), dict(panoptic=segment))
    with pytest.raises(ValueError, match='1000 objects of each of 64 classes.*choose coco'):
        export(store, 'cityscapes', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_maps_as_voc(maps, tmp_path):
    sample, folder = first(maps), exported(maps, 'voc', tmp_path)
    shown = png(folder / 'SegmentationClass' / f'{sample.id}.png')
    expected = np.where(sample.annotation == 255, 255, sample.annotation.astype(int) + 1)
    np.testing.assert_array_equal(shown, expected)
    assert (folder / 'labels.txt').read_text().split() == ['background', *CLASSES]
    assert sample.id in (folder / 'ImageSets' / 'Segmentation' / 'train.txt').read_text()


def test_by_datasets(maps, things, tmp_path):
    datasets = pytest.importorskip('datasets')
    for store, name in ((maps, 'a'), (things, 'b')):
        export(store, 'hf-datasets', tmp_path / name)
        found = datasets.load_dataset('imagefolder', data_dir=str(tmp_path / name), cache_dir=str(tmp_path / 'cache'))
        sample, row = first(store), found['train'][0]
        assert row['id'] == sample.id and row['caption'] == 'a photo'
        np.testing.assert_array_equal(np.asarray(row['image']), sample.image)
        if store is maps:
            np.testing.assert_array_equal(np.asarray(row['label_map']), sample.annotation)
            continue
        boxes = np.array(row['objects']['bbox'])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_array_equal(boxes, sample.annotation.bboxes)
        assert row['objects']['category'] == [2, 0, 1] and row['objects']['ignored'] == [False, False, True]


def test_as_webdataset(maps, things, tmp_path):
    for store, name in ((maps, 'a'), (things, 'b')):
        export(store, 'webdataset', tmp_path / name)
        sample = first(store)
        with tarfile.open(tmp_path / name / 'samples-000000.tar') as file:
            members = {member.name: file.extractfile(member).read() for member in file}
        np.testing.assert_array_equal(png(io.BytesIO(members[f'{sample.id}.png'])), sample.image)
        told = json.loads(members[f'{sample.id}.json'])
        if store is maps:
            np.testing.assert_array_equal(png(io.BytesIO(members[f'{sample.id}.label.png'])), sample.annotation)
        elif sample.annotation.masks is not None:
            encoded = [dict(size=told['size'], counts=counts) for counts in told['objects']['mask']]
            np.testing.assert_array_equal(np.moveaxis(coco_mask.decode(encoded), -1, 0), sample.annotation.masks)


def test_by_webdataset(maps, tmp_path):
    webdataset = pytest.importorskip('webdataset')
    folder = exported(maps, 'webdataset', tmp_path)
    read = list(webdataset.WebDataset(str(folder / 'samples-000000.tar'), shardshuffle=False).decode('rgb8'))
    assert len(read) == 2 and read[0]['__key__'] == first(maps).id
    np.testing.assert_array_equal(read[0]['png'], first(maps).image)


def test_as_label_studio(things, tmp_path, monkeypatch):
    sample = first(things)
    packed = ModuleType('brush')
    packed.mask2rle = lambda mask: np.flatnonzero(mask).tolist()
    if sample.annotation.masks is not None:
        monkeypatch.setitem(sys.modules, 'label_studio_sdk', None)
        with pytest.raises(ImportError, match='pip install label-studio-sdk'):
            export(things, 'label-studio', tmp_path / 'no')
        for name in ('label_studio_sdk', 'label_studio_sdk.converter', 'label_studio_sdk.converter.brush'):
            monkeypatch.setitem(sys.modules, name, packed)
    folder = exported(things, 'label-studio', tmp_path)
    task = json.loads((folder / 'tasks.json').read_text())[0]
    assert (folder / 'images' / task['data']['image'].rpartition('/')[2]).is_file()
    results = task['predictions'][0]['result']
    for result, box in zip(results, sample.annotation.bboxes):
        value = result['value']
        if result['type'] == 'rectanglelabels':
            x1, y1, width, height = value['x'] * 0.3, value['y'] * 0.2, value['width'] * 0.3, value['height'] * 0.2
            np.testing.assert_allclose([x1, y1, x1 + width, y1 + height], box)
    assert [result['value'][result['type']] for result in results] == [['tree'], ['road'], ['sky']]
    labels = ET.parse(folder / 'config.xml').getroot().findall('.//Label')
    assert [label.get('value') for label in labels] == list(CLASSES)


def test_masks_by_label_studio(tmp_path):
    brush = pytest.importorskip('label_studio_sdk.converter.brush')
    store = make_store(tmp_path / 'store', 'instances', [objects(True)])
    folder = exported(store, 'label-studio', tmp_path)
    results = json.loads((folder / 'tasks.json').read_text())[0]['predictions'][0]['result']
    for result, mask in zip(results, first(store).annotation.masks):
        decoded = brush.decode_rle(result['value']['rle']).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(decoded[..., 3] > 0, mask)


def test_rejected_samples_stay_at_home_and_file_values_become_classes(tmp_path):
    store = make_store(
        tmp_path / 's', 'segmentation', [label_map(0) + 1, label_map(1) + 1], reading=dict(reduce_zero_label=True)
    )
    Reviews(store.root).add('reject', store.records()[0].id)
    assert export(store, 'masks', tmp_path / 'out') == 1
    (path,) = (tmp_path / 'out' / 'masks').iterdir()
    np.testing.assert_array_equal(png(path), label_map(1))
    Reviews(store.root).add('reject', store.records()[1].id)
    with pytest.raises(ValueError, match='no accepted samples'):
        export(store, 'masks', tmp_path / 'none')


def test_classes_that_people_rejected_are_ignored(maps, things, segments, tmp_path):
    for store in (maps, things, segments):
        Reviews(store.root).add('reject_class', store.records()[0].id, 'road')
    for store in (maps, segments):
        export(store, 'masks', tmp_path / 'out' / store.root.name)
        sample = first(store)
        before = sample.annotation
        if store is segments:
            before = np.append(255, before.labels)[before.ids]
        shown = png(tmp_path / 'out' / store.root.name / 'masks' / f'{sample.id}.png')
        np.testing.assert_array_equal(shown, np.where(before == 0, 255, before))
        assert (before == 0).any()
    sample = next(samples_of(things))
    assert [(region.label, region.ignored) for region in sample.regions()] == [(2, False), (0, True), (1, True)]


def test_what_a_failed_export_began_does_not_block_the_next(maps, tmp_path, monkeypatch):
    def full(self, to):
        raise OSError('disk full')

    with monkeypatch.context() as patched, pytest.raises(OSError, match='disk full'):
        patched.setattr('diff2in1_mm.formats.samples.Sample.copy_image', full)
        export(maps, 'masks', tmp_path / 'out')
    assert export(maps, 'masks', tmp_path / 'out') == len(maps)


@pytest.mark.parametrize(
    'old, new, said',
    [
        (b'"category_id": 3', b'"category_id": 9', 'of a class that the store has not'),
        (b'"iscrowd"', b'"isqrowd"', 'iscrowd'),
    ],
)
def test_labels_that_were_changed_in_place_are_named(things, tmp_path, old, new, said):
    path = things.annotation_paths(things.records()[0])['instances']
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ValueError, match=f'{path.name} has an object .*{said}.*: restore the file'):
        export(SyntheticStore(things.root), 'coco', tmp_path / 'out')


def test_what_cannot_be_exported_is_told(things, maps, tmp_path):
    with pytest.raises(ValueError, match='class for each pixel'):
        export(things, 'masks', tmp_path / 'a')
    with pytest.raises(ValueError, match="did you mean 'coco'"):
        export(maps, 'cocoo', tmp_path / 'b')
    with pytest.raises(FileExistsError, match='not empty'):
        export(maps, 'coco', maps.root)
    with pytest.raises(ValueError, match='holds depth'):
        next(samples_of(make_store(tmp_path / 'd', 'depth', [np.ones((20, 30), np.float32)])))
    assert {'coco', 'voc', 'yolo', 'cityscapes', 'masks', 'cvat'} < set(FORMATS) and len(FORMATS) == 10


@pytest.fixture
def two_tasks(tmp_path):
    """Label maps and depth, one sample."""
    store = SyntheticStore.prepare(tmp_path / 'two', ['segmentation', 'depth'], CLASSES, 'f', {})
    depth = np.linspace(1, 9, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    image = np.zeros((*SIZE, 3), np.uint8)
    store.add(make_record(0), image, dict(segmentation=label_map(0), depth=depth))
    return SyntheticStore(tmp_path / 'two')


@pytest.mark.parametrize(
    'to, place', [('masks', 'depth/{}.png'), ('hf-datasets', 'train/depth/{}.png'), ('webdataset', '{}.depth.png')]
)
def test_labels_of_all_tasks_go_along_where_the_format_takes_them(two_tasks, tmp_path, to, place):
    export(two_tasks, to, tmp_path / 'out')
    (record,) = two_tasks.accepted()
    content = Path(two_tasks.annotation_paths(record)['depth']).read_bytes()
    if to == 'webdataset':
        with tarfile.open(tmp_path / 'out' / 'samples-000000.tar') as file:
            assert file.extractfile(place.format(record.id)).read() == content
        return
    assert (tmp_path / 'out' / place.format(record.id)).read_bytes() == content
    if to == 'hf-datasets':
        line = json.loads((tmp_path / 'out/train/metadata.jsonl').read_text())
        assert line['depth_file_name'] == f'depth/{record.id}.png'


def test_what_a_format_leaves_in_the_store_is_told(two_tasks, tmp_path):
    with pytest.warns(UserWarning, match='coco holds segmentation alone, and depth stay in the store: masks, hf-'):
        export(two_tasks, 'coco', tmp_path / 'out')
