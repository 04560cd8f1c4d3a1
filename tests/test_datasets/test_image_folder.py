"""Unlabelled images: what is found, read, skipped, captioned."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from diff2in1_mm.datasets.image_folder import ImageFolder, listed


def write_images(folder, count=4, size=(40, 60)):
    """Images of one colour each: blue channel 50 * i, red 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture = np.zeros((*size, 3), np.uint8)
        picture[..., 0], picture[..., 2] = 50 * i, 10
        cv2.imwrite(str(folder / f'{i}.png'), picture)
    return str(folder)


def test_folder_is_searched_recursively_and_sorted(tmp_path):
    write_images(tmp_path / 'b', 2)
    write_images(tmp_path / 'a', 1)
    (tmp_path / 'notes.txt').write_text('not an image')
    data = ImageFolder(str(tmp_path), size=(32, 48))
    assert [f[len(str(tmp_path)) :] for f in data.files] == ['/a/0.png', '/b/0.png', '/b/1.png']


def test_glob_below_data_root(tmp_path):
    write_images(tmp_path / 'photos', 3)
    assert len(ImageFolder('photos/[12].png', size=(32, 32), data_root=str(tmp_path))) == 2


def test_rgb_uint8_of_the_size(tmp_path):
    sample = ImageFolder(write_images(tmp_path), size=(32, 48))[3]
    assert sample['inputs'].dtype == torch.uint8 and sample['inputs'].shape == (3, 32, 48)
    assert sample['inputs'][:, 5, 5].tolist() == [10, 0, 150] and sample['index'] == 3


@pytest.mark.parametrize('size', [(16, 48), (64, 16), (100, 120)])
def test_any_shape_covers_the_size_without_distortion(tmp_path, size):
    picture = np.zeros((40, 60, 3), np.uint8)
    cv2.circle(picture, (30, 20), 10, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / 'c.png'), picture)
    image = ImageFolder(str(tmp_path), size=size)[0]['inputs'][0] > 127
    assert image.shape == size
    factor = max(size[0] / 40, size[1] / 60)
    rows, cols = image.any(1).sum().item(), image.any(0).sum().item()
    expected = [min(21 * factor, side) for side in size]
    assert abs(rows - expected[0]) <= 2 and abs(cols - expected[1]) <= 2


def test_random_crop_scale_and_flip(tmp_path):
    ramp = np.tile(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 1, 3))
    cv2.imwrite(str(tmp_path / 'r.png'), ramp)
    np.random.seed(0)
    data = ImageFolder(str(tmp_path), size=(40, 60), crop=(16, 24), flip=0.5, scale=(1, 1.5))
    views = [data[0]['inputs'] for _ in range(30)]
    assert {tuple(v.shape) for v in views} == {(3, 16, 24)}
    slopes = [(v[0, 0, -1].int() - v[0, 0, 0].int()).item() for v in views]
    assert min(slopes) < 0 < max(slopes)  # mirrored and not
    assert len({v[0, 0, 0].item() for v in views}) > 10  # different places
    assert max(map(abs, slopes)) - min(map(abs, slopes)) > 15  # different enlargements
    assert data.whole(0).shape == (3, 40, 60)  # without random changes


def test_unreadable_image_is_named_skipped_counted(tmp_path, capfd):
    write_images(tmp_path, 5)
    (tmp_path / '2.png').write_bytes(b'\x89PNG but not really')
    (tmp_path / '3.png').write_bytes(b'')
    data = ImageFolder(str(tmp_path), size=(32, 32))
    assert [data[i]['index'] for i in range(5)] == [0, 1, 4, 4, 4]
    assert [f[-5:] for f in data.skipped] == ['2.png', '3.png']
    assert data.whole(2) is None


def test_workers_count_what_they_skip(tmp_path):
    write_images(tmp_path, 4)
    (tmp_path / '1.png').write_bytes(b'broken')
    data = ImageFolder(str(tmp_path), size=(32, 32))
    batches = list(DataLoader(data, batch_size=2, num_workers=2))
    assert sum(len(b['index']) for b in batches) == 4 and len(data.skipped) == 1


def test_nothing_readable(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'broken')
    with pytest.raises(FileNotFoundError, match='none of the 1 images can be read'):
        ImageFolder(str(tmp_path), size=(32, 32))[0]


def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='no image folder .*data_root'):
        ImageFolder('nowhere', size=(32, 32), data_root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match='holds no image .*images.path'):
        ImageFolder(str(tmp_path), size=(32, 32))


@pytest.mark.parametrize(
    'name, content',
    [
        ('c.json', '{"0.png": "a red  square", "2.png": "a pink\\nsquare"}'),
        (
            'c.jsonl',
            '{"file_name": "0.png", "text": "a red square"}\n\n'
            '{"file_name": "images/2.png", "text": "a pink square"}\n',
        ),
    ],
)
def test_captions_of_a_file(tmp_path, name, content):
    write_images(tmp_path / 'images', 3)
    (tmp_path / name).write_text(content)
    data = ImageFolder('images', size=(32, 32), captions=name, data_root=str(tmp_path))
    assert data.captions == ['a red square', '', 'a pink square']
    assert data[2]['caption'] == 'a pink square'


def test_captions_of_images_of_one_name(tmp_path):
    for name in ('cat', 'dog', 'bird'):
        write_images(tmp_path / name, 1)
    lines = [f'{{"file_name": "{name}/0.png", "text": "a {name}"}}\n' for name in ('cat', 'dog')]
    (tmp_path / 'metadata.jsonl').write_text(''.join(lines))
    data = ImageFolder(str(tmp_path), (32, 32), captions=str(tmp_path / 'metadata.jsonl'))
    assert data.captions == ['', 'a cat', 'a dog']


def test_a_coco_file_lists_whole_folder_names(tmp_path):
    (tmp_path / 'coco.json').write_text('{"images": [{"file_name": "train/1.jpg"}]}')
    files = ['train/1.jpg', '/d/train/1.jpg', '/d/pretrain/1.jpg', '/d/train/2.jpg']
    assert listed(files, str(tmp_path / 'coco.json')) == ['/d/train/1.jpg', 'train/1.jpg']


def test_sidecar_captions(tmp_path):
    write_images(tmp_path, 2)
    (tmp_path / '1.txt').write_text('one\n')
    assert ImageFolder(str(tmp_path), (32, 32), captions='sidecar').captions == ['', 'one']
    (tmp_path / '1.txt').write_text('\ufeffone\n', encoding='utf-8')
    assert ImageFolder(str(tmp_path), (32, 32), captions='sidecar').captions == ['', 'one']  # as Windows writes it
    (tmp_path / '1.txt').write_bytes(b'caf\xe9')
    with pytest.raises(ValueError, match='1.txt is no UTF-8 text .*: save it as UTF-8'):
        ImageFolder(str(tmp_path), (32, 32), captions='sidecar')


@pytest.mark.parametrize(
    'name, content, error, match',
    [
        ('gone.json', None, FileNotFoundError, 'no captions file'),
        ('list.json', '["a"]', ValueError, 'is no caption file'),
        ('half.json', '{"0.png": ', ValueError, 'is no caption file'),
        ('keys.jsonl', '{"name": "0.png"}', ValueError, 'is no caption file'),
        ('others.json', '{"cat.png": "a cat"}', ValueError, 'names none of the images'),
        ('sidecar', None, ValueError, 'no image has a .txt file'),
    ],
)
def test_bad_captions(tmp_path, name, content, error, match):
    write_images(tmp_path, 2)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=match):
        ImageFolder('.', (32, 32), captions=name, data_root=str(tmp_path))


def test_sizes_that_do_not_fit(tmp_path):
    folder = write_images(tmp_path)
    with pytest.raises(ValueError, match='crop .* is larger than size'):
        ImageFolder(folder, size=(32, 32), crop=(64, 32))
    with pytest.raises(ValueError, match='scale'):
        ImageFolder(folder, size=(32, 32), scale=(0.5, 1))
