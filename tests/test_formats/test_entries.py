"""Of what does not fit, one sentence names the file and the entry, and nothing is taken."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from diff2in1_mm.formats import export, import_labels
from diff2in1_mm.tasks.instances import Instances
from diff2in1_mm.utils.errors import UserError

from .conftest import disc, first, label_map, make_store, objects


def refused(store, source, path, said):
    with pytest.raises(UserError, match=said) as told:
        import_labels(store, source, path)
    assert '\n' not in str(told.value) and not (store.root / 'reviews.jsonl').exists()


def edited_coco(store, folder, edit):
    export(store, 'coco', folder)
    path = folder / 'annotations.json'
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def edited_cvat(store, folder, edit):
    """Of the first image."""
    export(store, 'cvat', folder)
    path = folder / 'annotations.xml'
    tree = ET.parse(path)
    edit(tree.getroot().find('image'))
    tree.write(path)
    return path


def changed(key, place=0, **values):
    return lambda content: content[key][place].update(values)


def without(key, name):
    return lambda content: content[key][1].pop(name)


def runs(counts, size=(20, 30)):
    return changed('annotations', 1, segmentation=dict(size=list(size), counts=counts))


@pytest.mark.parametrize('edit, said', [
    (without('annotations', 'bbox'), r'annotations\[1\] \(id 10001\) has nothing as bbox, where a list of 4'),
    (without('annotations', 'category_id'), r'annotations\[1\].* has nothing as category_id'),
    (without('annotations', 'id'), 'same'),
    (without('images', 'height'), r'images\[1\].* has nothing as height'),
    (without('images', 'file_name'), r'images\[1\].* has nothing as file_name'),
    (changed('annotations', bbox=None), r'annotations\[0\].* has nothing as bbox'),
    (changed('annotations', bbox=[1, 2, 'x', 4]), "has 'x' as part of bbox, where a finite number"),
    (changed('annotations', bbox=[1, 2, float('nan'), 4]), 'has nan as part of bbox'),
    (changed('annotations', bbox=[100, 100, 5, 5]), r'annotations\[0\].* has no area inside the image'),
    (changed('annotations', bbox=[5, 5, 0, -3]), r'annotations\[0\].* has no area inside the image'),
    (changed('annotations', score=None), 'has nothing as score'),
    (changed('annotations', iscrowd='0'), "has '0' as iscrowd"),
    (changed('annotations', category_id=99), 'has 99 as category_id, which the file does not list'),
    (changed('annotations', category_id=[1]), r'has \[1\] as category_id'),
    (changed('annotations', image_id=99), 'has 99 as image_id, which the file does not list'),
    (changed('annotations', 1, segmentation='x'), "has 'x' as segmentation"),
    (changed('annotations', 1, segmentation=[[1, 1, 9, 9]]), r'annotations\[1\].* an outline of 4 numbers'),
    (changed('annotations', 1, segmentation=[[1, 1, 9, 9, 1e9, 3]]), 'reaches far out of the image'),
    (changed('annotations', 1, segmentation=[[40, 1, 45, 1, 45, 9]]), 'without any pixel in the image'),
    (runs([600], (10, 60)), r'run lengths of the size \[20, 30\]'),
    (runs([0, 599]), 'do not fill its 600 pixels'),
    (runs([-1, 601]), 'do not fill its 600 pixels'),
    (runs([600]), 'without any pixel'),
    (runs('1'), 'do not fill its 600 pixels'),
    (runs('zzz'), "has 'zzz' as counts"),
    (runs(''), "has '' as counts"),
    (runs(None), 'has nothing as counts'),
    (lambda content: content['annotations'].append(7), r'annotations\[6\] is 7'),
    (lambda content: content['images'].append(dict(content['images'][0], id=99)), 'more than one entry of the image'),
    (lambda content: content['images'].append(dict(content['images'][0])), r'images\[2\].* has no id of its own'),
    (lambda content: content.update(annotations=[]), 'all 2 labels would become empty'),
    (lambda content: content.update(annotations=[], images=[]), 'has no images'),
    (lambda content: content.pop('categories'), 'is no COCO file, as it has no list of categories'),
])  # fmt: skip
def test_malformed_coco(things, tmp_path, edit, said):
    path = edited_coco(things, tmp_path / 'out', edit)
    if said == 'same':
        assert import_labels(things, 'coco', path) == (0, 2)
    else:
        refused(things, 'coco', path, said)


@pytest.mark.parametrize('content, said', [
    (b'\xff', 'is no COCO file'),
    (b'[' * 100_000, 'is no COCO file'),
    (b'[]', 'has no list of categories'),
    (None, 'there is no .*annotations.json'),
])  # fmt: skip
def test_no_coco_at_all(maps, tmp_path, content, said):
    if content is not None:
        (tmp_path / 'annotations.json').write_bytes(content)
    refused(maps, 'coco', tmp_path, said)


def shape(tag, text='', **attributes):
    def edit(image):
        added = ET.SubElement(image, tag, {'label': 'sky', 'z_order': '0', **attributes})
        added.text = text

    return edit


MASK = dict(left='1', top='1', width='2', height='2', rle='0, 4')


@pytest.mark.parametrize('edit, said', [
    (shape('ellipse', cx='9', cy='9', rx='3', ry='3'), r'image 0 \(r.*png\), ellipse 3 is no box, mask or polygon'),
    (shape('polyline', points='1,1;2,2;3,1'), 'polyline 3 is no box'),
    (shape('points', points='1,1'), 'points 3 is no box'),
    (shape('cuboid'), 'cuboid 3 is no box'),
    (shape('skeleton'), 'skeleton 3 is no box'),
    (shape('box', xtl='1', ytl='1', xbr='9', ybr='9', rotation='45'), 'box 3 is rotated: draw'),
    (shape('box', xtl='1', ytl='1', xbr='9', ybr='x'), "box 3 has 'x' as ybr"),
    (shape('box', xtl='1', ytl='1', xbr='9'), 'box 3 has nothing as ybr'),
    (shape('box', xtl='31', ytl='1', xbr='39', ybr='9'), 'box 3 has no area inside the image'),
    (shape('box', xtl='9', ytl='1', xbr='1', ybr='9'), 'box 3 has no area inside the image'),
    (shape('polygon', points='1,1;2,2'), 'polygon 3 has an outline of 4 numbers'),
    (shape('polygon', points='1,1;2,2;x'), "polygon 3 has 'x' as part of outline"),
    (shape('polygon'), "polygon 3 has '' as part of outline"),
    (shape('polygon', points='1,1;5,1;5,5', z_order='top'), "polygon 3 has 'top' as z_order"),
    (shape('mask', **{**MASK, 'rle': '0, x'}), "mask 3 has ' x' as part of rle"),
    (shape('mask', **{**MASK, 'rle': '0, 3'}), 'mask 3 has a mask whose run lengths do not fill its 4 pixels'),
    (shape('mask', **{**MASK, 'rle': '4'}), 'mask 3 has a mask without any pixel'),
    (shape('mask', **{**MASK, 'width': 'x'}), "mask 3 has 'x' as width"),
    (shape('mask', **{**MASK, 'left': '29'}), 'mask 3 reaches out of the image'),
    (shape('mask', **{**MASK, 'top': '-1'}), 'mask 3 reaches out of the image'),
    (shape('mask', **MASK, label='dog'), "mask 3 names the class 'dog'"),
    (lambda image: image.set('width', 'wide'), "has 'wide' as width"),
    (lambda image: image.set('width', '1000000000'), 'label of shape'),
    (lambda image: image.attrib.pop('name'), 'image 0 has no name'),
    (lambda image: image.set('name', 'r000_s0000001_k00.png'), 'more than one entry of the images r000_s0000001'),
])  # fmt: skip
def test_malformed_cvat(tmp_path, edit, said):
    store = make_store(tmp_path / 'store', 'instances', [objects(False)] * 2)
    refused(store, 'cvat', edited_cvat(store, tmp_path / 'out', edit), said)


@pytest.mark.parametrize('content, said', [
    ('<annotations><version>1.1</version><track id="0" label="sky"/></annotations>', 'has tracks of a video'),
    ('<annotation/>', 'has no images, and "CVAT for images 1.1" is what is read'),
    ('<?xml version="1.0" encoding="nonsense"?><annotations/>', 'is no "CVAT for images 1.1"'),
])  # fmt: skip
def test_other_xml(maps, tmp_path, content, said):
    (tmp_path / 'annotations.xml').write_text(content)
    refused(maps, 'cvat', tmp_path, said)


@pytest.mark.parametrize('source', ['coco', 'cvat'])
def test_a_box_among_masks_does_not_drop_them(tmp_path, source):
    store = make_store(tmp_path / 'store', 'instances', [objects(True)] * 2)
    if source == 'coco':
        path, name = edited_coco(store, tmp_path / 'out', without('annotations', 'segmentation')), r'annotations\[1\]'
    else:
        path, name = edited_cvat(store, tmp_path / 'out', shape('box', xtl='1', ytl='1', xbr='9', ybr='9')), 'box 3'
    refused(store, source, path, f"{name}.* is a box, and the store's objects have masks: draw its outline")


def test_a_box_in_an_image_without_objects_of_a_store_with_masks(tmp_path):
    nothing = Instances(*(values[:0] for values in objects(True)))
    store = make_store(tmp_path / 'store', 'instances', [objects(True), nothing])
    box = dict(id=1, image_id=101, category_id=1, bbox=[1, 1, 5, 5])
    refused(store, 'coco', edited_coco(store, tmp_path / 'out', lambda c: c['annotations'].append(box)), 'have masks')


def test_a_box_that_sticks_out_is_cut_and_an_image_may_be_empty(tmp_path):
    store = make_store(tmp_path / 'store', 'instances', [objects(False)] * 2)

    def edit(content):
        del content['annotations'][1:]
        content['annotations'][0]['bbox'] = [25, 15, 9, 9]

    assert import_labels(store, 'coco', edited_coco(store, tmp_path / 'out', edit)) == (2, 0)
    assert first(store).annotation.bboxes.tolist() == [[25, 15, 30, 20]]
    assert [record.by_hand for record in store.accepted()] == [('instances',)] * 2


@pytest.mark.parametrize('emptied', [1, 2])
def test_maps_without_annotations_are_left_as_they_are(maps, tmp_path, emptied):
    number = first(maps).record.number

    def edit(content):
        content['annotations'] = [a for a in content['annotations'] if emptied == 1 and a['image_id'] != number]

    path = edited_coco(maps, tmp_path / 'out', edit)
    with pytest.warns(UserWarning, match=f'{emptied} images have no annotations and were left as they are'):
        assert import_labels(maps, 'coco', path) == (0, 2 - emptied)
    assert not (maps.root / 'reviews.jsonl').exists()


def test_what_is_marked_as_ignored_is_ignored_in_maps(maps, segments, tmp_path):
    for store in (maps, segments):
        before = first(store).annotation
        path = edited_coco(store, tmp_path / store.root.name / 'out', changed('annotations', iscrowd=1))
        assert import_labels(store, 'coco', path)[0] == 1
        after = first(store).annotation
        if store is maps:
            np.testing.assert_array_equal(after, np.where(before == before[before < 255].min(), 255, before))
        else:
            np.testing.assert_array_equal(np.append(255, after.labels)[after.ids][before.ids == 1], 255)


def test_a_segment_below_others_is_none(segments, tmp_path):
    def edit(content):
        covered, *others = content['annotations']
        content['annotations'] = [covered, *others, dict(covered, category_id=3)]

    assert import_labels(segments, 'coco', edited_coco(segments, tmp_path / 'out', edit)) == (1, 0)
    found = first(segments).annotation
    labels = np.append(255, found.labels)[found.ids]
    assert labels[8, 8] == 2 and labels[12, 22] == 0 and labels[3, 25] == 2 and labels[19, 0] == 255


def test_run_lengths_are_those_of_pycocotools(tmp_path):
    noise = np.random.default_rng(0).random((20, 30)) < 0.5
    masks = [noise, ~noise, disc(8, 8, 5), np.ones((20, 30), bool)]
    store = make_store(tmp_path / 'store', 'instances', [objects(True)])
    for number, mask in enumerate(masks):
        counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts'].decode()
        path = edited_coco(store, tmp_path / f'out{number}', runs(counts))
        import_labels(store, 'coco', path)
        np.testing.assert_array_equal(first(store).annotation.masks[1], mask)


def stretched(path):
    Image.fromarray(label_map(0) == 1).save(path)  # of 1 bit


def painted(path):
    picture = Image.fromarray(label_map(0), 'P')
    picture.putpalette([0, 0, 0, 9, 9, 9])
    picture.save(path)


def lossy(path):
    path.write_bytes(cv2.imencode('.jpg', np.zeros((20, 30), np.uint8))[1].tobytes())


@pytest.mark.parametrize('write, said', [
    (stretched, 'is no PNG of one channel with 8 bits'),
    (painted, 'is no PNG of one channel with 8 bits'),
    (lossy, 'is no PNG of one channel with 8 bits'),
    (lambda path: path.write_bytes(path.read_bytes()[:-60]), 'is no PNG of one channel with 8 bits'),
    (lambda path: path.write_bytes(b''), 'is no PNG of one channel with 8 bits'),
    (lambda path: cv2.imwrite(str(path), np.zeros((20, 30), np.uint16)), 'is no PNG of one channel with 8 bits'),
    (lambda path: path.with_suffix('.PNG').write_bytes(path.read_bytes()), 'more than one entry of the images'),
    (lambda path: (path.parent.parent / 'classes.txt').write_text('sky\nroad\ntree\n'), 'has other classes than'),
])  # fmt: skip
def test_malformed_masks(maps, tmp_path, write, said):
    export(maps, 'masks', tmp_path / 'out')
    write(tmp_path / 'out' / 'masks' / f'{first(maps).id}.png')
    refused(maps, 'masks', tmp_path / 'out', said)


def test_maps_of_classes_are_no_objects(things, segments, maps, tmp_path):
    export(maps, 'masks', tmp_path / 'out')
    for store in (things, segments):
        refused(store, 'masks', tmp_path / 'out', 'masks tell no objects apart')
