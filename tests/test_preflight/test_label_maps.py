"""Label maps and photographs as ordinary exports have them: what is told before training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from torch import nn

from diff2in1_mm.datasets.folders import check_folders
from diff2in1_mm.preflight import findings as findings_module, image_headers
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.image_headers import check_headers, read_header
from diff2in1_mm.preflight.inputs import check_heads
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.utils.errors import UserError

from ..test_datasets.folders import LOADING, base_config

pytest.importorskip('mmseg')
STRIPES = np.arange(8)[None].repeat(6, 0) % 3


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(findings_module, 'print_log', lambda sentence, *args, **kwargs: said.append(sentence))
    return said


def folder(root, maps, size=(6, 8), orientation=None, suffix='.png'):
    """A data set of these maps, with images (height, width) that say to be turned."""
    for i, labels in enumerate(maps):
        for name in ('images', 'annotations'):
            (root / name).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None and i:
            exif[0x0112] = orientation
        Image.fromarray(np.full((*size, 3), i, np.uint8)).save(root / f'images/{i}{suffix}', exif=exif)
        Image.fromarray(np.asarray(labels)).save(root / f'annotations/{i}.png')
    return root


def build(root, **options):
    return DATASETS.build(base_config(root, **options))


def test_ordinary_maps_are_not_spoken_of(tmp_path, warnings):
    dataset = build(folder(tmp_path, [STRIPES.astype('uint8')] * 3))
    assert check_labels(dataset) == 3
    check_headers(dataset, Findings())
    assert not warnings


@pytest.mark.parametrize(
    'maps, options, sentence',
    [
        (np.where(STRIPES > 0, 255, 0), {}, 'none of 3 .* has the class sky, tree, and 6[0-9]% of their pixels'),
        (STRIPES % 2, dict(reduce_zero_label=True), r'after reduce_zero_label or label_map\) has the class sky, tree'),
        (np.full((6, 8), 255), {}, 'has the class road, sky, tree, and 100% of their pixels'),
    ],
)
def test_maps_with_nothing_to_tell_apart(tmp_path, warnings, maps, options, sentence):
    dataset = build(folder(tmp_path, [maps.astype('uint8')] * 3), **options)
    with pytest.raises(UserError, match=sentence):
        check_labels(dataset)
    check_labels(dataset, learned=False)
    assert 'if that is not meant' in warnings[0]
    check_labels(dataset, findings=Findings(['seen_classes']))
    assert len(warnings) == 1


def test_rare_classes_are_looked_for_before_a_refusal(tmp_path, warnings):
    maps = [np.zeros((6, 8), 'uint8') for _ in range(20)]
    maps[7][2, 3] = 2
    dataset = build(folder(tmp_path, maps))
    assert check_labels(dataset, 3) == 20
    assert len(warnings) == 1 and 'none of 20 label maps' in warnings[0] and 'class sky,' in warnings[0]


def test_several_channels_and_lost_bits(tmp_path):
    dataset = build(folder(tmp_path / 'rgb', [STRIPES[..., None].repeat(3, 2).astype('uint8')] * 2))
    with pytest.raises(
        UserError, match=r'0\.png is loaded with the shape \(6, 8, 3\), but a label map has one channel'
    ):
        check_labels(dataset)
    dataset = build(folder(tmp_path / 'deep', [(STRIPES + 256 * (STRIPES == 1)).astype('uint16')] * 2))
    with pytest.raises(UserError, match=r'0\.png holds the values 257, which are cut to 8 bits'):
        check_labels(dataset)
    assert check_labels(build(folder(tmp_path / 'fits', [STRIPES.astype('uint16')] * 2))) == 2


def test_maps_of_another_size(tmp_path, warnings):
    maps = [STRIPES.astype('uint8'), STRIPES[::2, ::2].astype('uint8'), STRIPES.astype('uint8')]
    dataset = build(folder(tmp_path, maps))
    with pytest.raises(UserError, match=r'1 of 3 label maps .* first is .*1\.png with 4 x 3 pixels for .* with 8 x 6'):
        check_headers(dataset, Findings())
    check_headers(dataset, Findings(['map_sizes']))
    assert not warnings


@pytest.mark.parametrize('orientation, said', [(6, 'turned by its EXIF tag and the map is not'), (3, None), (1, '')])
def test_oblong_photographs_that_are_turned(tmp_path, warnings, orientation, said):
    dataset = build(
        folder(tmp_path, [STRIPES.astype('uint8')] * 3, orientation=orientation, suffix='.jpg'), img_suffix='.jpg'
    )
    if said:
        with pytest.raises(UserError, match=f'2 of 3 label maps .*{said}'):
            check_headers(dataset, Findings())
    else:
        check_headers(dataset, Findings())
    assert [('2 of 3 images' in warning and 'EXIF' in warning) for warning in warnings] == [True] * (said is None)


def test_square_photographs_that_are_turned(tmp_path, warnings):
    """No size shows it; where the loader leaves them as they lie, nothing is to be said."""
    root = folder(tmp_path, [STRIPES[:, :6].astype('uint8')] * 3, (6, 6), 6, '.jpg')
    check_headers(build(root, img_suffix='.jpg'), Findings())
    assert '2 of 3 images' in warnings[0] and "color_type='color_ignore_orientation'" in warnings[0]
    still = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), *LOADING[1:]]
    check_headers(build(root, img_suffix='.jpg', pipeline=still), Findings())
    assert len(warnings) == 1


def test_headers_are_read_once(tmp_path, monkeypatch):
    dataset = build(folder(tmp_path / 'set', [STRIPES.astype('uint8')] * 3))
    read = []
    monkeypatch.setattr(image_headers, 'read_header', lambda path: (read.append(path), read_header(path))[1])
    index = str(tmp_path / 'work' / 'image_headers.json')
    check_headers(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 6
    check_headers(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 6
    Image.fromarray(STRIPES[:3].astype('uint8')).save(tmp_path / 'set/annotations/1.png')
    with pytest.raises(UserError, match='1 of 3 label maps'):
        check_headers(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 7
    Path(index).write_text('{"a": 3}')
    check_headers(dataset, Findings(['map_sizes']), image_headers.HeaderIndex(index))
    assert len(read) == 13


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n\x00\x00'])
def test_a_header_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    assert read_header(str(tmp_path / 'a.png')) is None


def head(num_classes, out_channels, use_sigmoid):
    module = nn.Module()
    module.num_classes, module.out_channels = num_classes, out_channels
    module.loss_decode = nn.Module()
    module.loss_decode.use_sigmoid = use_sigmoid
    return module


@pytest.mark.parametrize(
    'options, fits',
    [
        ((1, 1, False), False),
        ((2, 1, False), False),
        ((2, 1, True), True),
        ((3, 3, False), True),
        ((1, 1, True), False),
    ],
)
def test_heads_of_a_single_class(options, fits):
    model = SimpleNamespace(decode_head=nn.ModuleList([head(3, 3, False), head(*options)]), auxiliary_head=None)
    if fits:
        check_heads(model)
    else:
        with pytest.raises(UserError, match=r'model\.decode_head\[1\] has num_classes=.*use_sigmoid=True'):
            check_heads(model)


def test_class_names_that_are_one_text(tmp_path):
    (tmp_path / 'names.txt').write_text('road\n')
    check_folders(dict(type='BaseSegDataset', metainfo=dict(classes=str(tmp_path / 'names.txt'))))
    with pytest.raises(UserError, match=r"the classes 'road', a text .*\('road',\) with a comma"):
        check_folders(dict(dataset=dict(type='BaseSegDataset', metainfo=dict(classes='road'))))
