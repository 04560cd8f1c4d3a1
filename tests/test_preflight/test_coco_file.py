"""Annotation files of COCO's layout: what is refused, what is warned of, and that nothing else is said."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from diff2in1_mm.preflight import findings as findings_module
from diff2in1_mm.preflight.coco_file import check_coco_file
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.utils.errors import MissingFileError, UserError

CLASSES = ('leaf', 'stone')


def content() -> dict:
    """A faultless file of three images."""
    images = [dict(id=10 + i, file_name=f'plot/{i}.jpg', width=60, height=40) for i in range(3)]
    objects = [
        dict(id=1 + k, image_id=10 + k % 3, category_id=5 + 2 * (k % 2), bbox=[40, 25, 8 + k, 6], area=48, iscrowd=0)
        for k in range(6)
    ]
    for found in objects:
        x, y, w, h = found['bbox']
        found['segmentation'] = [[x, y, x + w, y, x + w, y + h]]
    return dict(images=images, annotations=objects, categories=[dict(id=5, name='leaf'), dict(id=7, name='stone')])


def look(tmp_path, data, skip=(), **options) -> None:
    path = tmp_path / 'plots.json'
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    before = path.read_bytes()
    try:
        check_coco_file(str(path), CLASSES, Findings(skip), **options)
    finally:
        assert path.read_bytes() == before


def every(part, **values):
    def change(data):
        for entry in data[part]:
            entry.update(values)

    return change


def without(part, field):
    def change(data):
        for entry in data[part][1:]:
            del entry[field]

    return change


def boxes(convert):
    def change(data):
        for found in data['annotations']:
            found['bbox'] = convert(*found['bbox'])

    return change


def one(part, **values):
    return lambda data: data[part][2 if part == 'annotations' else 1].update(values)


def swap_categories(data):
    data['categories'].reverse()


REFUSED = [
    (one('images', id=10), 'annotation_ids', r'image id 10 stands 2 times \(plot/0.jpg, plot/1.jpg\).*new ids'),
    (one('annotations', id=1), 'annotation_ids', 'annotation id 1 stands 2 times'),
    (every('annotations', image_id='11'), 'annotation_ids', "6 of 6 annotations belong to no image.*'11' and 11"),
    (every('annotations', image_id=99), 'annotation_ids', '6 of 6 annotations belong to no image.*correct the ids'),
    (without('annotations', 'area'), 'coco_fields', "5 of 6 annotations have no 'area', the first is id 2.*width x"),
    (without('annotations', 'bbox'), 'coco_fields', "5 of 6 annotations have no 'bbox'"),
    (without('images', 'height'), 'coco_fields', "2 of 3 images have no 'height', the first is plot/1.jpg"),
    (one('annotations', bbox=[1, 2, 'three', 4]), 'coco_fields', "1 of 6 annotations have no usable 'bbox'"),
    (one('images', width=0), 'coco_fields', "no usable 'width'"),
    (boxes(lambda x, y, w, h: [x, y, x + w, y + h]), 'box_units', r'look like corners \(x1, y1, x2, y2\)'),
    (boxes(lambda x, y, w, h: [x / 60, y / 40, w / 60, h / 40]), 'box_units', 'shares of the image from 0 to 1'),
    (boxes(lambda x, y, w, h: [-30, y, w, h]), 'box_units', '6 of 6 boxes leave their image'),
    (every('annotations', area=0), 'dropped_objects', r"6 of 6 annotations have an 'area' of 0.*\(all objects of"),
    (one('categories', name='pebble'), 'categories', 'stone would never be learned'),
    (one('categories', name='leaf'), 'categories', "2 categories have the name 'leaf'"),
    (one('categories', id=5), 'categories', '2 categories have the id 5'),
    (swap_categories, 'categories', 'in the order stone, leaf.*by another'),
    (one('annotations', category_id=6), 'categories', 'objects of the category ids 6'),
]


def test_a_faultless_file_is_not_spoken_of(tmp_path, warnings):
    look(tmp_path, content(), masks=True, evaluated=True)
    assert not warnings


@pytest.mark.parametrize('size, place', [(30, 5), (4, 10)])
def test_a_single_box_that_leaves_its_image_is_no_other_unit(tmp_path, warnings, size, place):
    data = content()
    some = data['annotations'][0]
    data['annotations'] = [dict(some, id=i + 1, bbox=[place, place, size, size]) for i in range(20)]
    data['annotations'][3]['bbox'] = [60 - size + 3, place, size, size]
    look(tmp_path, data)
    assert '1 of 20 boxes leave their image' in str(warnings) and 'is cut off' in str(warnings)


@pytest.mark.parametrize('change, check, sentence', REFUSED)
def test_what_is_refused_and_can_be_switched_off(tmp_path, warnings, change, check, sentence):
    data = content()
    change(data)
    with pytest.raises(UserError, match=sentence) as error:
        look(tmp_path, data)
    assert 'plots.json' in str(error.value) and f"skip=['{check}']" in str(error.value)
    look(tmp_path, data, skip=findings_module.CHECKS)
    assert not warnings


@pytest.mark.parametrize(
    'change, sentence',
    [
        (one('annotations', bbox=[55, 25, 20, 6]), '1 of 6 boxes leave their image.*cut off'),
        (one('annotations', bbox=[5, 5, 0.4, 6]), '1 are under a pixel'),
        (one('annotations', image_id=99), '1 of 6 annotations belong to no image.*left out'),
        (one('annotations', area=0), "1 of 6 annotations have an 'area' of 0"),
        (every('annotations', category_id=5), 'no object of the class stone'),
    ],
)
def test_what_is_warned_of(tmp_path, warnings, change, sentence):
    import re

    data = content()
    change(data)
    look(tmp_path, data)
    assert any(re.search(sentence, said) for said in warnings)


def test_an_id_of_0_counts_where_the_file_is_evaluated(tmp_path, warnings):
    data = content()
    data['annotations'][0]['id'] = 0
    look(tmp_path, data)
    assert not warnings
    look(tmp_path, data, evaluated=True)
    assert 'has the id 0' in warnings[0] and 'write 7 in place of 0' in warnings[0]


def test_crowd_flags_and_outlines_are_asked_for_where_they_are_read(tmp_path, warnings):
    data = content()
    for found in data['annotations']:
        del found['iscrowd'], found['segmentation']
    look(tmp_path, data)
    with pytest.raises(UserError, match="6 of 6 annotations have no 'iscrowd'.*write 0"):
        look(tmp_path, data, evaluated=True)
    with pytest.raises(UserError, match="no 'segmentation'.*with_mask=True"):
        look(tmp_path, data, masks=True)


@pytest.mark.parametrize('text', ['', '{"images": [', '[]', '{"images": [], "annotations": {}}', '\x00'])
def test_what_is_no_such_file(tmp_path, text):
    with pytest.raises(UserError, match='plots.json'):
        look(tmp_path, text)


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match='nowhere.json does not exist: correct'):
        check_coco_file(str(tmp_path / 'nowhere.json'), CLASSES, Findings())


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 100),
    st.floats(allow_nan=True),
    st.text(max_size=3),
    st.lists(st.integers(-5, 90) | st.none(), max_size=5),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(['images', 'annotations', 'categories']), st.integers(0, 5), st.integers(0, 7), VALUES
        ),
        min_size=1,
        max_size=4,
    ),
    drop=st.booleans(),
    skip=st.sets(st.sampled_from(findings_module.CHECKS)),
)
def test_whatever_is_in_an_entry_it_is_told_in_a_sentence_of_ours(tmp_path, changes, drop, skip):
    data = copy.deepcopy(content())
    for part, index, field, value in changes:
        entry = data[part][index % len(data[part])]
        name = sorted(content()[part][0])[field % len(content()[part][0])]
        if drop:
            entry.pop(name, None)
        else:
            entry[name] = value
    try:
        look(tmp_path, data, skip=skip, masks=True, evaluated=True)
    except UserError as error:
        assert 'plots.json' in str(error)
