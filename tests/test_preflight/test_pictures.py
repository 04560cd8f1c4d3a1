"""All files of a data set: what is missing, damaged, turned, of another size or too dark is told before training."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.preflight import image_headers
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.image_headers import read_header
from diff2in1_mm.preflight.pictures import check_pictures
from diff2in1_mm.utils.errors import MissingFileError, UserError

from ..test_datasets.folders import LOADING
from .sets import STRIPES, build, folder

pytest.importorskip('mmseg')
MAP = STRIPES.astype('uint8')


def test_ordinary_files_are_not_spoken_of(tmp_path, warnings):
    check_pictures(build(folder(tmp_path, [MAP] * 3)), Findings())
    assert not warnings


def listed(root, *names, **options):
    """A data set whose images are named in a file, so that they may be missing."""
    (root / 'list.txt').write_text('\n'.join(names))
    return build(root, ann_file='list.txt', **options)


@pytest.mark.parametrize(
    'names, options, cause',
    [
        (['0', 'gone'], {}, r'first is .*images/gone\.png: correct `data_root` or `data_prefix\[.img_path.\]`'),
        (['0', 'a\\1'], {}, r"first is .*: names of files have backslashes.* write '/'"),
        (['0', 'images/1'], {}, r'first is .*images/images/1\.png: .*images/1\.png is there: correct `data_prefix'),
        (['0', '1'], dict(img_suffix='.jpg'), r'first is .*images/0.jpg: 0\.png lies there: correct the ending'),
    ],
)
def test_missing_images_with_the_likely_cause(tmp_path, warnings, names, options, cause):
    dataset = listed(folder(tmp_path, [MAP] * 3), *names, **options)
    count = 2 if options else 1
    with pytest.raises(MissingFileError, match=f'{count} of 2 images of BaseSegDataset do not exist, the {cause}'):
        check_pictures(dataset, Findings())


def test_a_few_missing_images_of_a_training_that_goes_on(tmp_path, warnings):
    dataset = listed(folder(tmp_path, [MAP] * 3), '0', '1', '2', 'gone')
    Image.fromarray(MAP).save(tmp_path / 'annotations/gone.png')
    check_pictures(SyntheticMixDataset(dataset), Findings())
    assert '1 of 4 images' in warnings[0] and 'others take their place' in warnings[0] and len(warnings) == 1
    (tmp_path / 'annotations/gone.png').unlink()
    with pytest.raises(MissingFileError, match='1 of 4 label maps of .*annotations/gone.png'):
        check_pictures(SyntheticMixDataset(dataset), Findings())
    check_pictures(dataset, Findings(['missing_files']))


@pytest.mark.parametrize('content', [b'', b'no picture', 'cut'])
@pytest.mark.parametrize('name', ['images', 'annotations'])
def test_damaged_files(tmp_path, warnings, content, name):
    """Where they are cut, decoders refuse them or fill them up."""
    root = folder(tmp_path, [np.random.default_rng(0).integers(0, 3, (60, 80)).astype('uint8')] * 3, (60, 80))
    path = root / name / '1.png'
    path.write_bytes(path.read_bytes()[:-30] if content == 'cut' else content)
    dataset = build(root)
    try:
        check_pictures(dataset, Findings())
    except UserError as error:
        warnings.append(str(error))
    check_pictures(SyntheticMixDataset(dataset), Findings())
    check_pictures(dataset, Findings(['damaged_files']))
    words = r'1 of 3 (images|label maps) of BaseSegDataset (cannot be read|end before).*1\.png: (repair|copy)'
    assert len(warnings) == 2 and all(re.search(words, said) for said in warnings)


def test_a_photograph_that_ends_early_is_told_from_one_with_a_trailer(tmp_path):
    path = tmp_path / 'a.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype('uint8')).save(path)
    content = path.read_bytes()
    assert read_header(str(path)).whole
    path.write_bytes(content + b'of the camera' * 20)
    assert read_header(str(path)).whole
    path.write_bytes(content[:-400])
    assert not read_header(str(path)).whole


@pytest.mark.parametrize('factor, color, dark', [(16, 'color', True), (256, 'color', False), (16, 'unchanged', False)])
def test_twelve_bits_in_sixteen(tmp_path, warnings, factor, color, dark):
    root = folder(tmp_path, [MAP] * 3)
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (6, 8, 3)).astype(np.uint16) * factor
        cv2.imwrite(str(root / f'images/{i}.png'), image)
    dataset = build(root, pipeline=[dict(type='LoadImageFromFile', color_type=color), *LOADING[1:]])
    check_pictures(dataset, Findings())
    assert [('3 of 3 images' in w and 'scale the images to 8 bits' in w) for w in warnings] == [True] * dark


def test_maps_of_another_size(tmp_path, warnings):
    maps = [STRIPES.astype('uint8'), STRIPES[::2, ::2].astype('uint8'), STRIPES.astype('uint8')]
    dataset = build(folder(tmp_path, maps))
    with pytest.raises(UserError, match=r'1 of 3 label maps .* first is .*1\.png with 4 x 3 pixels for .* with 8 x 6'):
        check_pictures(dataset, Findings())
    check_pictures(dataset, Findings(['map_sizes']))
    assert not warnings


@pytest.mark.parametrize('orientation, said', [(6, 'turned by its EXIF tag and the map is not'), (3, None), (1, '')])
def test_oblong_photographs_that_are_turned(tmp_path, warnings, orientation, said):
    dataset = build(
        folder(tmp_path, [STRIPES.astype('uint8')] * 3, orientation=orientation, suffix='.jpg'), img_suffix='.jpg'
    )
    if said:
        with pytest.raises(UserError, match=f'2 of 3 label maps .*{said}'):
            check_pictures(dataset, Findings())
    else:
        check_pictures(dataset, Findings())
    assert [('2 of 3 images' in warning and 'EXIF' in warning) for warning in warnings] == [True] * (said is None)


def test_square_photographs_that_are_turned(tmp_path, warnings):
    """No size shows it; where the loader leaves them as they lie, nothing is to be said."""
    root = folder(tmp_path, [STRIPES[:, :6].astype('uint8')] * 3, (6, 6), 6, '.jpg')
    check_pictures(build(root, img_suffix='.jpg'), Findings())
    assert '2 of 3 images' in warnings[0] and "color_type='color_ignore_orientation'" in warnings[0]
    still = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), *LOADING[1:]]
    check_pictures(build(root, img_suffix='.jpg', pipeline=still), Findings())
    assert len(warnings) == 1


def test_headers_are_read_once(tmp_path, monkeypatch):
    dataset = build(folder(tmp_path / 'set', [STRIPES.astype('uint8')] * 3))
    read = []
    monkeypatch.setattr(image_headers, 'read_header', lambda path: (read.append(path), read_header(path))[1])
    index = str(tmp_path / 'work' / 'image_headers.json')
    check_pictures(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 6
    check_pictures(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 6
    Image.fromarray(STRIPES[:3].astype('uint8')).save(tmp_path / 'set/annotations/1.png')
    with pytest.raises(UserError, match='1 of 3 label maps'):
        check_pictures(dataset, Findings(), image_headers.HeaderIndex(index))
    assert len(read) == 7
    Path(index).write_text('{"a": 3}')
    check_pictures(dataset, Findings(['map_sizes']), image_headers.HeaderIndex(index))
    assert len(read) == 13


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n\x00\x00'])
def test_a_header_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    assert read_header(str(tmp_path / 'a.png')) is None
