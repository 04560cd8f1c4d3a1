"""NYUv2 with normals: the layout of Bae et al. and of the released code, captions, bad folders."""

import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope

pytest.importorskip('mmseg')

from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset  # noqa: E402

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadNormals'),
    dict(type='Resize', scale=(16, 12), keep_ratio=False),
    dict(type='PackSceneInputs'),
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split, numbers in (('train', (2, 3, 5)), ('test', (0, 1))):
        for kind in ('img', 'norm', 'caption'):
            (tmp_path / split / kind).mkdir(parents=True)
        for number in numbers:
            name = f'{number:06d}'
            for kind in ('img', 'norm'):
                picture = rng.integers(1, 256, (24, 32, 3), dtype=np.uint8)
                picture[:4] = 0  # the white frame of NYUv2's photographs has no normals
                cv2.imwrite(str(tmp_path / split / kind / f'{name}.png'), picture)
            (tmp_path / split / 'caption' / f'{name}.txt').write_text(f'room\n{number}\n')
    return tmp_path


def build(root, **options):
    return DATASETS.build(dict(type='NYUNormalsDataset', data_root=str(root), **{**dict(pipeline=PIPELINE), **options}))


def names(dataset):
    return [dataset.get_data_info(i)['img_path'][-10:-4] for i in range(len(dataset))]


def test_layout(root):
    data = build(root)
    assert names(data) == ['000002', '000003', '000005']
    assert names(build(root, split='test')) == ['000000', '000001']
    info = data.get_data_info(1)
    assert info['normal_map_path'].endswith('train/norm/000003.png') and 'caption' not in info
    assert data.metainfo['classes'] == ()
    sample = data[1]['data_samples']
    length = sample.gt_normal_map.data.norm(dim=0)
    assert length.shape == (12, 16)
    assert (length[:2] == 0).all() and ((length[2:] - 1).abs() < 1e-5).float().mean() > 0.9


def test_captions_of_the_released_layout(root):
    data = build(root, captions='caption')
    assert [data.get_data_info(i)['caption'] for i in range(3)] == ['room 2', 'room 3', 'room 5']


def test_captions_in_one_file(root):
    table = {f'{n:06d}.png': f'number {n}' for n in (2, 3, 5)}
    (root / 'c.json').write_text(json.dumps(table))
    assert build(root, captions='c.json').get_data_info(2)['caption'] == 'number 5'


def test_an_image_without_a_caption_is_named(root):
    (root / 'train/caption/000003.txt').unlink()
    with pytest.raises(ValueError, match="no caption for '000003'"):
        build(root, captions='caption')


def test_a_part_is_drawn(root):
    assert names(build(root, num_labelled=2, seed=1)) == names(build(root, num_labelled=2, seed=1))
    assert len(build(root, num_labelled=2)) == 2
    with pytest.raises(ValueError, match='from 1 to 3'):
        build(root, num_labelled=4)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(data_root='nowhere'), 'nowhere/train/img does not exist.*set `data_root`'),
        (dict(split='val'), 'val/img does not exist'),
        (dict(captions='texts'), 'captions .*train/texts do not exist.*another condition'),
    ],
)
def test_missing_folders_are_told_before_anything_is_built(root, options, words):
    with pytest.raises(FileNotFoundError, match=words):
        SyntheticMixDataset(dict(type='NYUNormalsDataset', **{**dict(data_root=str(root)), **options}))


def test_an_image_without_normals_and_an_empty_folder(root):
    (root / 'train/norm/000003.png').unlink()
    with pytest.raises(FileNotFoundError, match='000003.png has no normals'):
        build(root)
    for path in (root / 'test/img').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match='holds no image .* or set `data_root`$'):
        build(root, split='test')


def test_damaged_normals_are_named_and_another_sample_comes(root, caplog):
    (root / 'train/norm/000003.png').write_bytes(b'no picture')
    data = SyntheticMixDataset(build(root), ratio=0)
    assert data[1]['data_samples'].img_path.endswith('000005.png') and data.unreadable == 1


def test_normals_of_another_size_stop_the_run(root):
    cv2.imwrite(str(root / 'train/norm/000003.png'), np.full((20, 32, 3), 200, np.uint8))
    with pytest.raises(ValueError, match=r'000003.png \(normals\) is 32 x 20, but its image 32 x 24'):
        SyntheticMixDataset(build(root), ratio=0)[1]
    cv2.imwrite(str(root / 'train/norm/000003.png'), np.full((24, 32), 200, np.uint8))
    with pytest.raises(ValueError, match='three channels of 8 or 16 bits'):
        build(root)[1]
