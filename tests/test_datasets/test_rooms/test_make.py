"""The world on disk: layout, first use, and what must not be left behind."""

import json
import multiprocessing
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from diff2in1_mm.datasets.folders import check_folders
from diff2in1_mm.datasets.rooms import make
from diff2in1_mm.datasets.rooms.furniture import THINGS
from diff2in1_mm.datasets.rooms.make import make_rooms
from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.utils.randomness import stable_seed
from tests.conftest import ROOT

COUNTS = dict(train=4, unlabelled=3)
OPTIONS = dict(size=(32, 48), counts=COUNTS, workers=1)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('rooms')
    make_rooms(str(root), ['train', 'unlabelled'], **OPTIONS)
    return root


USED_BEFORE = """
import sys
import cv2, numpy
from diff2in1_mm.datasets import make_rooms
cv2.setNumThreads(4)
cv2.resize(numpy.ones((2000, 2000, 3), numpy.float32), (3000, 3000))
make_rooms(sys.argv[1], ['train'], size=(32, 32), counts=dict(train=4), workers=2)
assert cv2.getNumThreads() == 4
"""


def test_rendering_goes_on_where_opencv_has_threads(tmp_path):
    """A forked process would wait for them for ever."""
    subprocess.run([sys.executable, '-c', USED_BEFORE, str(tmp_path)], check=True, timeout=200, cwd=ROOT)
    assert (tmp_path / 'rooms_train.json').exists()


def test_files_hold_what_was_rendered(world):
    room = render_room(stable_seed('rooms', 0, 'train', 2) % 2**32, (32, 48))

    def read(folder):
        return cv2.imread(str(world / folder / 'train' / '000002.png'), cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(read('images')[..., ::-1], room.image)
    np.testing.assert_array_equal(read('annotations'), room.classes)
    np.testing.assert_allclose(read('depth') / 1000, room.depth, atol=6e-4)
    normals = read('normals')[..., ::-1] / 65535 * 2 - 1
    np.testing.assert_allclose(normals, room.normals, atol=2e-5)
    np.testing.assert_array_equal(read('boundaries') > 0, room.boundaries)
    captions = json.loads((world / 'captions_train.json').read_text())
    assert captions['000002.png'] == room.caption
    assert len(list((world / 'images' / 'unlabelled').glob('*.jpg'))) == 3


def test_instances_are_coco(world):
    coco = pytest.importorskip('pycocotools.coco').COCO(str(world / 'instances_train.json'))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(THINGS)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        x, y, width, height = annotation['bbox']
        assert 0 <= x and x + width <= 48 and 0 <= y and y + height <= 32
        assert coco.annToMask(annotation).sum() == annotation['area'] > 0


def test_nothing_is_made_twice(world, monkeypatch):
    monkeypatch.setattr(make, '_make_split', pytest.fail)
    make_rooms(str(world), ['train', 'unlabelled'], **OPTIONS)


def test_the_world_of_somebody_else_is_only_read(world, monkeypatch):
    """Nothing may be written there, not even a lock."""

    def refused(path, **options):
        raise PermissionError(f'Permission denied: {path!r}')

    monkeypatch.setattr(make, 'file_lock', refused)
    make_rooms(str(world), ['train', 'unlabelled'], **OPTIONS)
    with pytest.raises(PermissionError):  # this one would have to be rendered
        make_rooms(str(world), ['mine'], size=(32, 48), counts=dict(mine=1), workers=1)


def test_a_world_that_is_rendered_anew_meanwhile_is_not_complete(world, monkeypatch):
    """Seen without the lock, its folders may be there again while its files are not."""
    complete, away = world / 'rooms_train.json', world / 'away'
    spec, isdir = json.loads(complete.read_text()), make.osp.isdir

    def remade(path):
        if complete.exists():
            complete.rename(away)
        return isdir(path)

    assert make._is_made(str(world), 'train', spec)
    monkeypatch.setattr(make.osp, 'isdir', remade)
    try:
        assert not make._is_made(str(world), 'train', spec)
    finally:
        away.rename(complete)


def test_a_world_that_lacks_a_kind_of_label_is_completed(tmp_path):
    options = dict(OPTIONS, counts=dict(train=2))
    make_rooms(str(tmp_path), ['train'], **options)
    shutil.rmtree(tmp_path / 'boundaries')
    make_rooms(str(tmp_path), ['train'], **options)
    assert len(list((tmp_path / 'boundaries' / 'train').iterdir())) == 2


def test_another_world_is_not_overwritten(world):
    with pytest.raises(ValueError, match='another world.*another data_root'):
        make_rooms(str(world), ['train'], seed=1, **OPTIONS)


@pytest.mark.parametrize('theirs', ['images/train/0001.jpg', 'annotations/train/0001.png', 'captions_train.json'])
def test_the_data_of_others_is_not_touched(tmp_path, theirs):
    path = tmp_path / theirs
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'mine')
    with pytest.raises(ValueError, match='was not rendered by Rooms: give another data_root'):
        make_rooms(str(tmp_path), ['train'], **OPTIONS)
    assert path.read_bytes() == b'mine'


def test_what_a_killed_process_left_is_made_anew(tmp_path):
    (tmp_path / 'images' / 'train').mkdir(parents=True)
    (tmp_path / 'images' / 'train' / '000009.png').write_bytes(b'half')
    (tmp_path / '.train.making').touch()
    make_rooms(str(tmp_path), ['train'], **OPTIONS)
    assert len(list((tmp_path / 'images' / 'train').iterdir())) == 4
    assert not (tmp_path / '.train.making').exists()


def test_a_marker_that_a_kill_left_behind_a_whole_split_goes(tmp_path):
    options = dict(OPTIONS, counts=dict(train=2))
    make_rooms(str(tmp_path), ['train'], **options)
    (tmp_path / '.train.making').touch()
    make_rooms(str(tmp_path), ['train'], **options)
    assert not (tmp_path / '.train.making').exists()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    real, calls = make._write, []

    def full(path, array):
        calls.append(path)
        if len(calls) > 6:
            raise OSError(f'{path} cannot be written: is the disk full?')
        real(path, array)

    monkeypatch.setattr(make, '_write', full)
    with pytest.raises(OSError, match='is the disk full'):
        make_rooms(str(tmp_path), ['train'], **OPTIONS)
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and path.suffix != '.lock']
    monkeypatch.setattr(make, '_write', real)
    make_rooms(str(tmp_path), ['train'], **OPTIONS)  # and the next attempt succeeds


def test_a_failure_of_one_process_ends_the_others_and_leaves_nothing(tmp_path, monkeypatch):
    real = make._write

    def full(path, array):
        if path.endswith('000005.jpg'):
            raise OSError(f'{path} cannot be written: is the disk full?')
        real(path, array)

    monkeypatch.setattr(make, '_write', full)
    options = dict(OPTIONS, counts=dict(unlabelled=200), workers=2)
    with pytest.raises(OSError, match='is the disk full'):
        make_rooms(str(tmp_path), ['unlabelled'], **options)
    assert not multiprocessing.active_children()  # they would write on
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['.unlabelled.lock']
    assert not (tmp_path / 'images' / 'unlabelled').exists()


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(make, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='run `pip install pycocotools`'):
        make_rooms(str(tmp_path / 'new'), ['train'], **OPTIONS)
    assert not (tmp_path / 'new' / 'images').exists()
    make_rooms(str(tmp_path / 'new'), ['unlabelled'], **OPTIONS)  # has no boxes


def test_space_is_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(make.shutil, 'disk_usage', lambda root: type('Usage', (), dict(free=10)))
    with pytest.raises(OSError, match='MB left: give a data_root with more space'):
        make_rooms(str(tmp_path), ['train'], **OPTIONS)


def test_segmentation_data_set_renders_on_first_use(tmp_path):
    pytest.importorskip('mmseg')
    cfg = dict(type='RoomsDataset', data_root=str(tmp_path / 'new'), size=(32, 48), count=5, num_labelled=3, seed=1)
    check_folders(cfg)
    dataset = DATASETS.build(cfg)
    info = dataset.get_data_info(0)
    assert len(dataset) == 3 and dataset.metainfo['classes'][0] == 'wall'
    for key in ('img_path', 'seg_map_path', 'depth_map_path', 'normal_map_path'):
        assert cv2.imread(info[key], cv2.IMREAD_UNCHANGED) is not None
    with pytest.raises(ValueError, match='for .mine. give `count`'):
        DATASETS.build(dict(cfg, split='mine', count=None))


def test_detection_data_set(world):
    pytest.importorskip('mmdet')
    dataset = DATASETS.build(dict(type='RoomsDetDataset', data_root=str(world), size=(32, 48), count=4))
    instances = [i for k in range(len(dataset)) for i in dataset.get_data_info(k)['instances']]
    assert instances and max(i['bbox_label'] for i in instances) < len(THINGS)


@pytest.mark.parametrize('name', ['rooms', 'captions'])
def test_damaged_files_of_a_world_are_named(tmp_path, name):
    cfg = dict(type='RoomsDataset', data_root=str(tmp_path), size=(32, 48), count=1)
    DATASETS.build(cfg)
    (tmp_path / f'{name}_train.json').write_text('[')
    with pytest.raises(OSError, match=f'{name}_train.json is damaged: delete .* rendered again'):
        DATASETS.build(cfg)
