"""CamVid: layout, classes, and the draw of the labelled part."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from diff2in1_mm.preflight.label_maps import check_labels

pytest.importorskip('mmseg')


@pytest.fixture
def tiny(tmp_path):
    for split in ('train', 'val'):
        for folder, suffix in (('images', 'jpg'), ('annotations', 'png')):
            (tmp_path / folder / split).mkdir(parents=True)
            for i in range(20):
                cv2.imwrite(str(tmp_path / folder / split / f'{i:02d}.{suffix}'), np.full((4, 4), i % 11, np.uint8))
    return tmp_path


def build(root, **options):
    return DATASETS.build(dict(type='CamVidDataset', data_root=str(root), **options))


def names(dataset):
    return [dataset.get_data_info(i)['img_path'][-6:-4] for i in range(len(dataset))]


def test_layout(tiny):
    dataset = build(tiny)
    assert names(dataset) == [f'{i:02d}' for i in range(20)]
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 11
    info = build(tiny, data_prefix=dict(img_path='images/val', seg_map_path='annotations/val')).get_data_info(3)
    assert info['seg_map_path'].endswith('annotations/val/03.png')
    assert check_labels(dataset) == 8


def test_draw(tiny, tmp_path_factory):
    first = names(build(tiny, num_labelled=5, seed=1))
    assert len(first) == 5 and first == sorted(first)
    assert first == names(build(tiny, num_labelled=5, seed=1))
    assert first != names(build(tiny, num_labelled=5, seed=2))
    assert set(first) < set(names(build(tiny, num_labelled=8, seed=1)))
    elsewhere = tmp_path_factory.mktemp('zz') / 'moved'
    elsewhere.symlink_to(tiny)
    assert first == names(build(elsewhere, num_labelled=5, seed=1))


@pytest.mark.parametrize('number', [0, 21])
def test_draw_of_too_many(tiny, number):
    with pytest.raises(ValueError, match=f'num_labelled={number} .*from 1 to 20'):
        build(tiny, num_labelled=number)


def test_missing_and_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match='images/train does not exist'):
        build(tmp_path)
    (tmp_path / 'images/train').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='images/train holds no .jpg'):
        build(tmp_path)


def test_photographs(camvid):
    train = build(camvid)
    assert len(train) == 367 and check_labels(train, 16) == 16
    assert len(build(camvid, num_labelled=50, seed=3)) == 50
    val = build(camvid, data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'))
    assert len(val) == 101
