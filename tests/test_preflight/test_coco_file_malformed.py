"""Mutations of faultless data sets: each is refused in a sentence of ours, told in a warning, or read as it says.

With 150 COCO files of ``test_coco_file.py``, and the label maps and stores of ``test_label_maps_malformed.py`` and
``test_store_malformed.py``, these are 480 generated inputs. They derive from the tests' own source (``derandomize``),
so that a failure comes again.
"""

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st
from mmengine.registry import DATASETS

from diff2in1_mm.diffusion.conditions.caption_files import caption_table
from diff2in1_mm.preflight.coco_file import check_coco_file
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.xml_files import check_xml_files
from diff2in1_mm.utils.errors import UserError

from ..malformed import CUTS, flipped, generated, place, untouched
from . import test_coco_file as coco, test_xml_files as xml

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')


NUMBERS = st.one_of(st.integers(-3, 80), st.floats(-5, 80), st.sampled_from([0, 0.4, 59.5, 1e9, float('nan')]))


@generated(100)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(['images', 'annotations', 'categories']),
            st.integers(0, 5),
            st.integers(0, 7),
            st.one_of(NUMBERS, st.text(max_size=3), st.lists(NUMBERS, min_size=4, max_size=4), st.just('leaf')),
        ),
        min_size=1,
        max_size=3,
    ),
    cuts=st.none() | CUTS,
)
def test_objects_of_a_coco_file_are_all_read_or_spoken_of(changes, cuts):
    data = coco.content()
    for part, index, field, value in changes:
        names = sorted(data[part][0])
        data[part][index % len(data[part])][names[field % len(names)]] = value
    content = json.dumps(data).encode()
    content = content if cuts is None else flipped(content, cuts)
    with place() as (root, said):
        path = root / 'plots.json'
        path.write_bytes(content)
        with untouched(root):
            try:
                check_coco_file(str(path), coco.CLASSES, Findings(), masks=True)
            except UserError as error:
                assert 'plots.json' in str(error)
                return
            options = dict(metainfo=dict(classes=coco.CLASSES), data_prefix=dict(img=''), pipeline=[], test_mode=True)
            read = DATASETS.build(dict(type='mmdet.CocoDataset', ann_file=str(path), **options))
    data = json.loads(content)
    names = {c['id']: c['name'] for c in data['categories']}
    meant = [(a['image_id'], names.get(a['category_id']), *a['bbox'][:2]) for a in data['annotations']]
    found = [
        (entry['img_id'], coco.CLASSES[i['bbox_label']], *i['bbox'][:2])
        for entry in (read.get_data_info(k) for k in range(len(read)))
        for i in entry['instances']
    ]
    assert said or sorted(found, key=str) == sorted(meant, key=str)


TAGS = ('width', 'height', 'name', 'xmin', 'ymin', 'xmax', 'ymax')


@generated(60)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(TAGS), NUMBERS | st.text('<ab/ 1', max_size=3)), max_size=3
    ),
    cuts=st.none() | CUTS,
)
def test_objects_of_voc_files_are_all_read_or_spoken_of(changes, cuts):
    texts = [xml.annotation()] * 3
    for index, tag, value in changes:
        texts[index] = re.sub(f'<{tag}>[^<]*', lambda _: f'<{tag}>{value}', texts[index], count=1)  # noqa: B023
    if cuts is not None:
        texts[1] = flipped(texts[1].encode(), cuts).decode('latin-1')
    with place() as (root, said):
        dataset = xml.make(root, *texts)
        with untouched(root):
            try:
                check_xml_files(dataset, xml.CLASSES, Findings())
            except UserError as error:
                assert 'Annotations' in str(error) or 'train.txt' in str(error)
                return
            dataset.full_init()
    meant = [
        (str(i), o.findtext('name'), int(float(o.findtext('bndbox/xmin'))) - 1)
        for i, text in enumerate(texts)
        for o in ElementTree.fromstring(text.encode()).findall('object')
    ]
    found = [
        (entry['img_id'], xml.CLASSES[i['bbox_label']], i['bbox'][0])
        for entry in (dataset.get_data_info(k) for k in range(len(dataset)))
        for i in entry['instances']
    ]
    assert said or found == meant


CAPTIONS = {f'{i}.png': f'a  plot of  {i} leaves' for i in range(3)}


@generated(50)
@given(
    key=st.sampled_from(sorted(CAPTIONS)) | st.text(max_size=4),
    value=st.one_of(st.none(), st.integers(), st.text(max_size=6), st.lists(st.text(max_size=2), max_size=2)),
    lines=st.booleans(),
    cuts=st.none() | CUTS,
)
def test_captions_are_those_of_the_file_or_refused(key, value, lines, cuts):
    meant = {**CAPTIONS, key: value}
    rows = '\n'.join(json.dumps(dict(image=name, caption=text)) for name, text in meant.items())
    content = (rows if lines else json.dumps(meant)).encode()
    with place() as (root, _):
        path = root / ('captions.jsonl' if lines else 'captions.json')
        path.write_bytes(content if cuts is None else flipped(content, cuts))
        with untouched(root):
            try:
                table = caption_table(str(path))
            except UserError as error:
                assert str(path) in str(error)
                return
    if cuts is None:
        for name in CAPTIONS.keys() - {key}:
            assert table.find(f'somewhere/{name}') == ' '.join(CAPTIONS[name].split())
