"""Mutations of faultless data sets: each is refused in a sentence of ours, told in a warning, or read as it says.

With 150 COCO files of ``test_coco_file.py`` these are 430 generated inputs. They derive from the tests' own source
(``derandomize``), so that a failure comes again.
"""

import contextlib
import json
import re
import tempfile
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from mmengine.registry import DATASETS
from PIL import Image

from diff2in1_mm.diffusion.conditions.caption_files import caption_table
from diff2in1_mm.preflight import findings
from diff2in1_mm.preflight.batches import name_unreadable_files
from diff2in1_mm.preflight.coco_file import check_coco_file
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.preflight.pictures import check_pictures
from diff2in1_mm.preflight.xml_files import check_xml_files
from diff2in1_mm.store import store as store_module
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError

from ..test_datasets.folders import add_samples, open_store
from . import test_coco_file as coco, test_xml_files as xml
from .sets import STRIPES, build, folder

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')


def generated(count):
    return settings(max_examples=count, derandomize=True, deadline=None)


@contextlib.contextmanager
def place():
    """A folder of which no file may change inside, and a list of what is warned of."""
    said: list[str] = []
    patch = mock.patch.object(findings, 'print_log', lambda sentence, *args, **kwargs: said.append(sentence))
    with tempfile.TemporaryDirectory() as name, patch:
        yield Path(name), said


@contextlib.contextmanager
def untouched(root):
    before = {path: path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in before} == before


def flipped(content: bytes, cuts: list) -> bytes:
    """Bytes exchanged at shares of the length; a last one beyond the end cuts the rest off."""
    changed = bytearray(content)
    for share, value in cuts:
        if share >= 1:
            del changed[int(len(changed) * (share - 1)) :]
        elif changed:
            changed[int(share * len(changed))] = value
    return bytes(changed)


CUTS = st.lists(st.tuples(st.floats(0, 1.99), st.integers(0, 255)), min_size=1, max_size=3)
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
            options = dict(metainfo=dict(classes=coco.CLASSES), pipeline=[], test_mode=True)
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


def as_mode(mode):
    return lambda labels: Image.fromarray(labels.astype('uint8')).convert(mode)


CHANGES = (
    *map(as_mode, ('L', 'P', 'RGB', 'RGBA', 'LA', '1')),
    lambda labels: Image.fromarray((labels * 300).astype('uint16')),
    lambda labels: Image.fromarray(labels.astype('int32') - 1),
    lambda labels: Image.fromarray((labels + 2).astype('uint8')),
    lambda labels: Image.fromarray((labels * 127).astype('uint8')),
    lambda labels: Image.fromarray(labels[:, ::2].astype('uint8')),
    lambda labels: Image.fromarray(labels.T.astype('uint8')),
)


@generated(70)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(range(len(CHANGES)))), max_size=2),
    target=st.sampled_from(['annotations', 'images']),
    cuts=st.none() | CUTS,
    gone=st.booleans(),
)
def test_label_maps_are_read_as_their_files_are_or_spoken_of(changes, target, cuts, gone):
    with place() as (root, said):
        folder(root, [STRIPES.astype('uint8')] * 3)
        for index, change in changes:
            CHANGES[change](STRIPES).save(root / target / f'{index}.png')
        path = root / target / '1.png'
        if cuts is not None:
            path.write_bytes(flipped(path.read_bytes(), cuts))
        elif gone and target == 'annotations':
            path.unlink()
        with untouched(root):
            dataset = build(root)
            try:
                check_pictures(dataset, Findings())
                check_labels(dataset)
            except UserError as error:
                assert str(root) in str(error)
                return
            name_unreadable_files(dataset)
            for i in range(len(dataset)):
                try:
                    sample = dataset[i]
                except UserError as error:
                    assert f'{i}.png cannot be read' in str(error)
                    continue
                with Image.open(root / f'annotations/{i}.png') as picture:
                    meant = np.asarray(picture)
                read = sample['data_samples'].gt_sem_seg.data[0].numpy()
                assert said or (np.array_equal(read, meant) and sample['inputs'].shape[1:] == read.shape)


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


@generated(50)
@given(
    name=st.sampled_from(['store.json', 'records', 'images', 'annotations']),
    number=st.integers(0, 2),
    field=st.integers(0, 12),
    value=st.one_of(st.none(), st.integers(-2, 3), st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    cuts=st.none() | CUTS,
)
def test_samples_of_a_store_are_whole_or_named(name, number, field, value, cuts):
    with place() as (root, _), mock.patch.object(store_module, 'print_log') as told:
        add_samples(open_store(root / 's'), range(3))
        path = root / 's' / name
        path = path if path.is_file() else sorted(path.iterdir())[number]
        before = path.read_bytes()
        if cuts is not None or path.suffix != '.json':
            path.write_bytes(flipped(before, cuts or [(1.5, 0)]))
        else:
            content = json.loads(before)
            content[sorted(content)[field % len(content)]] = value
            path.write_text(json.dumps(content))
        with untouched(root):
            try:
                store = SyntheticStore(root / 's')
                records = store.records(0)
            except UserError as error:
                assert str(root / 's') in str(error)
                return
            assert bool(store.damaged) == told.called and len(records) + len(store.damaged) <= 3
            for record in records:
                with contextlib.suppress(UserError):
                    store.read(record)
        assert len(path.read_bytes()) == len(before) or path.suffix == '.json' or store.damaged
