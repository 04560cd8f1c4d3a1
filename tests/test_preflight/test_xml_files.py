"""Annotations of VOC's layout: what is refused, what is warned of, and that nothing else is said."""

import re

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from diff2in1_mm.preflight.boxes import check_boxes
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.pictures import check_pictures
from diff2in1_mm.preflight.xml_files import check_xml_files, reads_xml
from diff2in1_mm.utils.errors import MissingFileError, UserError

pytest.importorskip('mmdet')
CLASSES = ('leaf', 'stone')
BOX = '<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>'


def annotation(name='leaf', box=BOX.format(31, 25, 40, 34), size='<width>60</width><height>40</height>') -> str:
    return (
        f'<annotation><size>{size}</size><object><name>{name}</name><bndbox>{box}</bndbox></object>'
        f'<object><name>stone</name><bndbox>{BOX.format(1, 1, 60, 40)}</bndbox></object></annotation>'
    )


def make(root, *texts):
    """A data set, unread, of as many images as annotation files."""
    for name in ('JPEGImages', 'Annotations'):
        (root / name).mkdir(parents=True)
    for i, text in enumerate(texts):
        Image.fromarray(np.full((40, 60, 3), 9 * i, np.uint8)).save(root / f'JPEGImages/{i}.jpg')
        (root / f'Annotations/{i}.xml').write_text(text)
    (root / 'train.txt').write_text('\n'.join(map(str, range(len(texts)))) + '\n')
    return unread(root)


def unread(root):
    options = dict(data_prefix=dict(sub_data_root=''), metainfo=dict(classes=CLASSES), lazy_init=True, pipeline=[])
    return DATASETS.build(dict(type='mmdet.XMLDataset', data_root=str(root), ann_file='train.txt', **options))


def test_faultless_files_are_not_spoken_of(tmp_path, warnings):
    dataset = make(tmp_path, *[annotation()] * 3)
    assert reads_xml(type(dataset))
    check_xml_files(dataset, CLASSES, Findings())
    assert check_boxes(dataset) == 1
    check_pictures(dataset, Findings())
    assert not warnings


@pytest.mark.parametrize(
    'text, sentence',
    [
        ('<annotation><size>', r'2 of 3 annotation files are no XML, the first is .*1\.xml: write or copy'),
        (annotation(size='<width>60</width>'), '2 of 3 annotation files have no usable <size>.*whole pixels'),
        (annotation(size='<width>0</width><height>0</height>'), 'have no usable <size>'),
        (annotation(name=''), 'have an <object> without a <name>'),
        (annotation(box='<xmin>3</xmin>'), 'without the four numbers of its <bndbox>'),
        (annotation(box=BOX.format(1, 'nan', 5, 9)), 'without the four numbers'),
    ],
)
def test_what_mmdetection_would_stumble_over(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        check_xml_files(make(tmp_path, annotation(), text, text), CLASSES, Findings())


def of_all(convert):
    first, second = BOX.format(*convert(31, 25, 40, 34)), BOX.format(*convert(1, 1, 58, 39))
    return [annotation(box=first).replace(BOX.format(1, 1, 60, 40), second)] * 3


@pytest.mark.parametrize(
    'texts, check, sentence',
    [
        (of_all(lambda a, b, c, d: (a / 60, b / 40, c / 60, d / 40)), 'box_units', 'shares of the image from 0 to 1'),
        (of_all(lambda a, b, c, d: (a, b, c - a, d - b)), 'box_units', 'look like corner, width and height'),
        (of_all(lambda a, b, c, d: (a, b, c + 60, d)), 'box_units', '6 of 6 boxes leave their image'),
        ([annotation('Leaf').replace('stone', 'rock')] * 3, 'categories', r"of 'Leaf' \(3 objects\), 'rock'"),
    ],
)
def test_what_is_refused_and_can_be_switched_off(tmp_path, warnings, texts, check, sentence):
    dataset = make(tmp_path, *texts)
    with pytest.raises(UserError, match=rf'train\.txt.*{sentence}'):
        check_xml_files(dataset, CLASSES, Findings())
    check_xml_files(dataset, CLASSES, Findings([check]))
    assert not warnings


@pytest.mark.parametrize(
    'text, sentence',
    [
        (annotation(box=BOX.format(31, 25, 90, 34)), r'1 of 6 boxes leave their image.* in .*2\.xml'),
        (annotation(name='Leaf'), r"none of the data set's classes.*'Leaf' \(1 objects\); if"),
    ],
)
def test_what_is_warned_of(tmp_path, warnings, text, sentence):
    check_xml_files(make(tmp_path, annotation(), annotation(), text), CLASSES, Findings())
    assert len(warnings) == 1 and re.search(sentence, warnings[0])


def test_the_list_of_names(tmp_path, warnings):
    dataset = make(tmp_path, *[annotation()] * 2)
    (tmp_path / 'train.txt').write_text('0\n1\n1\n')
    check_xml_files(dataset, CLASSES, Findings())
    assert "1 names more than once, the first is '1'" in warnings[0]
    for text, kind, sentence in (
        ('0\n\n1\n', UserError, 'line 2 of .* is empty'),
        ('0.jpg\n1\n', MissingFileError, r'1 of 2 annotation files do not exist, .*0\.jpg\.xml: .*have no ending'),
    ):
        (tmp_path / 'train.txt').write_text(text)
        with pytest.raises(kind, match=sentence):
            check_xml_files(dataset, CLASSES, Findings())


def test_images_of_another_ending_are_missed_before_training(tmp_path):
    dataset = make(tmp_path, *[annotation()] * 2)
    (tmp_path / 'JPEGImages/1.jpg').rename(tmp_path / 'JPEGImages/1.png')
    with pytest.raises(MissingFileError, match=r'1 of 2 images of XMLDataset .*1\.jpg: 1\.png lies there: correct'):
        check_pictures(dataset, Findings())
