"""Bad data is told in one sentence before training."""

from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.registry import DATASETS

from diff2in1_mm.datasets.folders import check_folders
from diff2in1_mm.datasets.readable import file_exists
from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.preflight.label_maps import check_labels

from ..archive import from_archive
from .folders import base_config, make_folder, write_pair

LoadAnnotations = pytest.importorskip('mmseg.datasets.transforms').LoadAnnotations


def build(root, **options):
    return DATASETS.build(base_config(root, **options))


def test_good_labels(tmp_path):
    dataset = build(make_folder(tmp_path, 5))
    write_pair(tmp_path, '00', 0, np.array([[0, 1, 2, 255]]))
    assert check_labels(dataset, 3) == 3
    assert check_labels(SyntheticMixDataset(dataset)) == 5
    repeated = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=dataset))
    assert check_labels(repeated, 2) == 2


def test_labels_outside_the_classes(tmp_path):
    write_pair(make_folder(tmp_path, 5), '02', 0, np.array([[0, 3, 200, 255]]))
    with pytest.raises(
        ValueError,
        match=r'02\.png holds the label values 3, 200, but '
        r'BaseSegDataset has the classes 0 to 2, and ignored is 255 by the data '
        r"set's `ignore_index`",
    ):
        check_labels(build(tmp_path))
    assert check_labels(build(tmp_path, ignore_index=200, indices=[0]), learned=False) == 1


def test_what_is_ignored_is_what_the_readers_of_the_maps_ignore(tmp_path):
    """MMSegmentation's data sets only keep their `ignore_index`."""
    write_pair(make_folder(tmp_path, 1), '00', 0, np.array([[0, 1, 2, 3]]))
    assert check_labels(build(tmp_path), ignored=dict(head=3, other=3)) == 1
    with pytest.raises(ValueError, match='label values 3, but.*ignored is 255 by head:'):
        check_labels(build(tmp_path, ignore_index=3), ignored=dict(head=255))
    with pytest.raises(ValueError, match='ignored is 3 by head and 255 by other, which differ:'):
        check_labels(build(tmp_path), ignored=dict(head=3, other=255))
    assert check_labels(build(tmp_path, ignore_index=3), ignored={}) == 1


def test_labels_as_training_sees_them(tmp_path):
    """Value 3 of three classes is fine where zero is reduced away."""
    write_pair(make_folder(tmp_path, 1), '00', 0, np.array([[0, 1, 2, 3]]))
    assert check_labels(build(tmp_path, reduce_zero_label=True)) == 1
    with pytest.raises(ValueError, match='holds the label values 3, but'):
        check_labels(build(tmp_path))


class ColourLoading(LoadAnnotations):
    """Classes as colours."""

    def _load_seg_map(self, results):
        colours = mmcv.imread(results['seg_map_path'], channel_order='rgb')
        results['gt_seg_map'] = colours[..., 0] // 100 + (colours[..., 1] > 0)
        results['seg_fields'].append('gt_seg_map')


class LoadingAfterTheImage(LoadAnnotations):
    """Asks for what LoadImageFromFile adds."""

    def _load_seg_map(self, results):
        results['gt_seg_map'] = np.full(results['img_shape'], 9)


@pytest.mark.parametrize('loader, read', [(ColourLoading, 1), (LoadingAfterTheImage, 0), (dict, 0)])
def test_loaders_of_ones_own(tmp_path, loader, read):
    """What they make of a file is right, not what MMSegmentation's would."""
    write_pair(make_folder(tmp_path, 1), '00', 0, np.array([[[0, 0, 0], [0, 0, 200]]]))
    dataset = build(tmp_path)
    dataset.pipeline.transforms[1] = loader()
    assert check_labels(dataset) == read
    write_pair(tmp_path, '00', 0, np.array([[[0, 0, 0], [0, 20, 200]]]))
    if read:
        with pytest.raises(ValueError, match=r'00\.png holds the label values 3, but'):
            check_labels(dataset)


@pytest.mark.parametrize('content', [b'', b'not an image', 'cut'])
def test_a_map_that_cannot_be_read(tmp_path, content):
    """SyntheticMixDataset goes on without it, validation would end there."""
    path = make_folder(tmp_path, 3) / 'annotations/01.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 3, (60, 80)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:300] if content == 'cut' else content)
    assert check_labels(SyntheticMixDataset(build(tmp_path)), learned=False) == 2
    with pytest.raises(ValueError, match=r'annotations/01\.png cannot be read .*repair the file'):
        check_labels(build(tmp_path))


def test_missing_map(tmp_path):
    dataset = build(make_folder(tmp_path, 2))
    (tmp_path / 'annotations/01.png').unlink()
    with pytest.raises(FileNotFoundError, match='annotations/01.png.*does not exist'):
        check_labels(dataset)


def test_maps_are_looked_for_where_the_data_set_reads_them(tmp_path):
    make_folder(tmp_path / 'set', 2)
    dataset = DATASETS.build(from_archive(base_config('set'), tmp_path))
    assert check_labels(dataset, learned=False) == 2
    (tmp_path / 'set/annotations/01.png').unlink()
    with pytest.raises(FileNotFoundError, match='annotations/01.png.*does not exist'):
        check_labels(dataset)


def test_a_backend_that_cannot_tell_is_not_asked():
    @register_backend('only_gives', force=True)
    class OnlyGives(BaseStorageBackend):
        def get(self, filepath):
            """Not called."""

        def get_text(self, filepath):
            """Not called."""

    assert file_exists('a.png', SimpleNamespace(backend_args=dict(backend='only_gives')))


def test_folders(tmp_path):
    make_folder(tmp_path / 'good', 1)
    check_folders(base_config(tmp_path / 'good'))
    nested = dict(
        type='ConcatDataset',
        datasets=[
            base_config(tmp_path / 'good'),
            dict(type='RepeatDataset', times=2, dataset=base_config(tmp_path / 'bad')),
        ],
    )
    with pytest.raises(FileNotFoundError, match='bad does not exist'):
        check_folders(dict(type='SyntheticMixDataset', dataset=nested))
    with pytest.raises(FileNotFoundError, match='no .jpg.*img_suffix'):
        check_folders(base_config(tmp_path / 'good', img_suffix='.jpg'))
    with pytest.raises(FileNotFoundError, match='train.txt does not exist'):
        check_folders(base_config(tmp_path / 'good', ann_file='train.txt'))
    with pytest.raises(FileNotFoundError, match="labels does not exist.*'seg_map_path'"):
        check_folders(base_config(tmp_path / 'good', data_prefix=dict(img_path='images', seg_map_path='labels')))
    check_folders(base_config('s3://bucket'))
