"""Corrected labels come back: by a person, and nothing else changes."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from diff2in1_mm.formats import READERS, export, import_labels
from diff2in1_mm.store.reviews import Reviews

from .conftest import disc, first, label_map, make_store, objects


@pytest.mark.parametrize('source', READERS)
def test_what_nobody_changed_stays_the_models(maps, segments, source, tmp_path):
    for store in (maps, segments) if source != 'masks' else (maps,):
        folder = tmp_path / f'{store.root.name} out'
        export(store, source, folder)
        assert import_labels(store, source, folder) == (0, len(store))
        assert all(record.by_hand == () for record in store.accepted())


@pytest.mark.parametrize('source', ['coco', 'cvat'])
def test_objects_that_nobody_changed_stay_the_models(things, source, tmp_path):
    export(things, source, tmp_path / 'out')
    assert import_labels(things, source, tmp_path / 'out') == (0, 2)


@pytest.mark.parametrize('source', READERS)
def test_a_rejected_class_is_no_change_of_the_label(maps, segments, source, tmp_path):
    for store in (maps, segments) if source != 'masks' else (maps,):
        Reviews(store.root).add('reject_class', store.records()[0].id, 'road')
        export(store, source, tmp_path / 'out' / store.root.name)
        assert import_labels(store, source, tmp_path / 'out' / store.root.name) == (0, len(store))


def test_boxes_of_a_detector_that_are_not_those_of_its_masks(tmp_path):
    found = objects(True)
    store = make_store(tmp_path / 's', 'instances', [found._replace(bboxes=found.bboxes + 0.4)])
    export(store, 'cvat', tmp_path / 'out')
    assert import_labels(store, 'cvat', tmp_path / 'out') == (0, 1)


@pytest.mark.parametrize(
    'reading, values', [(dict(reduce_zero_label=True), [0, 1, 2, 255]), (dict(label_map={3: 1}), [0, 1, 2, 3])]
)
def test_values_of_files_that_say_the_same_class(tmp_path, reading, values):
    raw = np.array(values, np.uint8)[np.arange(600).reshape(20, 30) % 4]
    store = make_store(tmp_path / 's', 'segmentation', [raw], reading=reading)
    export(store, 'masks', tmp_path / 'out')
    assert import_labels(store, 'masks', tmp_path / 'out') == (0, 1)


def test_a_corrected_label_is_not_under_the_old_rejection(maps, tmp_path):
    sample = first(maps)
    Reviews(maps.root).add('reject_class', sample.id, 'road')
    export(maps, 'masks', tmp_path / 'out')
    drawn = np.zeros_like(sample.annotation)
    cv2.imwrite(str(tmp_path / 'out' / 'masks' / f'{sample.id}.png'), drawn)
    assert import_labels(maps, 'masks', tmp_path / 'out') == (1, 1)
    assert not Reviews(maps.root).verdicts().classes
    Reviews(maps.root).undo()
    assert Reviews(maps.root).verdicts().classes == {sample.id: frozenset({'road'})}


def test_a_changed_map(maps, tmp_path):
    export(maps, 'masks', tmp_path / 'out')
    sample, other = first(maps), maps.accepted()[1]
    changed = np.where(disc(10, 10, 4), 1, sample.annotation).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'out' / 'masks' / f'{sample.id}.png'), changed)
    assert import_labels(maps, 'masks', tmp_path / 'out', by='ada') == (1, 1)
    again = first(maps)
    np.testing.assert_array_equal(again.annotation, changed)
    assert again.record.label_from == {'segmentation': 'human'} and maps.accepted()[1] == other


def test_a_changed_map_of_a_data_set_that_reads_values_otherwise(tmp_path):
    store = make_store(tmp_path / 's', 'segmentation', [label_map(0) + 1], reading=dict(reduce_zero_label=True))
    export(store, 'masks', tmp_path / 'out')
    changed = np.full((20, 30), 2, np.uint8)
    cv2.imwrite(str(tmp_path / 'out' / 'masks' / f'{first(store).id}.png'), changed)
    assert import_labels(store, 'masks', tmp_path / 'out') == (1, 0)
    np.testing.assert_array_equal(first(store).annotation, changed + 1)


def test_changed_objects_of_coco(things, tmp_path):
    export(things, 'coco', tmp_path / 'out')
    path = tmp_path / 'out' / 'annotations.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['category_id'] = 2
    del content['annotations'][1]
    path.write_text(json.dumps(content))
    assert import_labels(things, 'coco', path) == (1, 1)
    found = first(things).annotation
    assert found.labels.tolist() == [1, 1] and found.ignored.tolist() == [False, True]
    np.testing.assert_array_equal(found.bboxes, objects(False).bboxes[[0, 2]])
    if 'segmentation' in content['annotations'][0]:
        np.testing.assert_array_equal(found.masks, objects(True).masks[[0, 2]])


def test_changed_objects_of_cvat(tmp_path):
    store = make_store(tmp_path / 's', 'instances', [objects(True)])
    export(store, 'cvat', tmp_path / 'out')
    path = tmp_path / 'out' / 'annotations.xml'
    tree = ET.parse(path)
    image = tree.getroot().find('image')
    image.remove(image.findall('mask')[1])
    ET.SubElement(image, 'polygon', label='sky', points='2.0,3.0;12.0,3.0;12.0,9.0;2.0,9.0', z_order='0')
    tree.write(path)
    assert import_labels(store, 'cvat', path) == (1, 0)
    found = first(store).annotation
    assert found.labels.tolist() == [2, 1, 1] and found.bboxes[2].tolist() == [2, 3, 12, 9]
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:12] = True
    np.testing.assert_array_equal(found.masks[2], expected)


def test_what_does_not_fit_is_told_and_nothing_is_taken(maps, tmp_path):
    export(maps, 'masks', tmp_path / 'out')
    masks = tmp_path / 'out' / 'masks'
    first_id, second_id = (record.id for record in maps.accepted())

    def refused(said, source='masks', path=tmp_path / 'out'):
        with pytest.raises(ValueError, match=said):
            import_labels(maps, source, path)
        assert not (maps.root / 'reviews.jsonl').exists()

    cv2.imwrite(str(masks / f'{first_id}.png'), np.zeros((20, 30), np.uint8))  # would be taken, but for the second
    cv2.imwrite(str(masks / f'{second_id}.png'), np.full((20, 30), 3, np.uint8))
    refused('value 3.*3 classes')
    cv2.imwrite(str(masks / f'{second_id}.png'), np.zeros((10, 30), np.uint8))
    refused('shape')
    cv2.imwrite(str(masks / f'{second_id}.png'), np.zeros((20, 30, 3), np.uint8))
    refused('one channel')
    (masks / f'{second_id}.png').rename(masks / 'stranger.png')
    cv2.imwrite(str(masks / 'stranger.png'), np.zeros((20, 30), np.uint8))
    refused('no accepted samples of the store: stranger')
    refused('there is no', path=tmp_path / 'gone')
    (tmp_path / 'x.json').write_text('[]')
    refused('no COCO file', 'coco', tmp_path / 'x.json')
    (tmp_path / 'x.xml').write_text('<annotations><image>')
    refused('no "CVAT for images', 'cvat', tmp_path / 'x.xml')
    box = (
        '<annotations><image name="{}.png" width="30" height="20">'
        '<box label="{}" xtl="1" ytl="1" xbr="4" ybr="4"/></image></annotations>'
    )
    (tmp_path / 'x.xml').write_text(box.format(first_id, 'dog'))
    refused("class 'dog'", 'cvat', tmp_path / 'x.xml')
    (tmp_path / 'x.xml').write_text(box.format(first_id, 'sky'))
    refused('draw its outline', 'cvat', tmp_path / 'x.xml')
    refused("'voc' is no format", 'voc')
