"""NYUD-MT and PASCAL-Context in the folders of ATRC and InvPT; what is missing is counted and left out."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from scipy.io import savemat

pytest.importorskip('mmseg')

import diff2in1_mm  # noqa: E402
from diff2in1_mm.datasets.folders import check_folders  # noqa: E402

SIZE = (24, 32)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array)


def names_of(root, path, names):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text('\n'.join(names) + '\n', encoding='utf-8-sig')  # as editors of Windows write


def nyud(root, names=('0004', '0001', '0002')):
    names_of(root, 'gt_sets/train.txt', names)
    (root / 'depth').mkdir()
    for name in names:
        for kind in ('images', 'normals'):
            write(root / kind / f'{name}.png', RNG.integers(140, 256, (*SIZE, 3), dtype=np.uint8))
        write(root / 'segmentation' / f'{name}.png', RNG.integers(0, 41, SIZE, dtype=np.uint8))
        write(root / 'edge' / f'{name}.png', RNG.choice(np.array([0, 255], np.uint8), SIZE))
        np.save(root / 'depth' / f'{name}.npy', RNG.uniform(1, 9, SIZE).astype(np.float32))
    return root


def pascal(root, names=('2008_000001', '2008_000002')):
    names_of(root, 'ImageSets/Context/train.txt', names)
    for name in names:
        write(root / f'JPEGImages/{name}.jpg', RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        folder = 'VOC12' if name.endswith('1') else 'pascal-context'
        write(root / f'semseg/{folder}/{name}.png', RNG.integers(0, 21, SIZE, dtype=np.uint8))
        write(root / f'normals_distill/{name}.png', RNG.integers(140, 256, (*SIZE, 3), dtype=np.uint8))
        write(root / f'sal_distill/{name}.png', np.repeat([[127, 128]], 12, 0).repeat(16, 1).repeat(2, 0))
        labels = np.full(SIZE, 72)
        labels[:, 16:] = 113
        matlab(root / f'pascal-context/trainval/{name}.mat', LabelMap=labels)
        head, leg = np.zeros((2, *SIZE), np.uint8)
        head[:4, :4], leg[-4:, -4:] = 1, 1
        parts = [] if name.endswith('2') else [('head', head), ('llleg', leg)]
        matlab(root / f'human_parts/{name}.mat', anno=annotation(parts))
    return root


def matlab(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)


def annotation(parts):
    """As PASCAL-Part's files have it: a person with these parts, and a dog."""
    rows = np.array([(name, mask) for name, mask in parts], dtype=[('part_name', object), ('mask', object)])
    kinds = [('class', object), ('class_ind', object), ('mask', object), ('parts', object)]
    mask = np.ones(SIZE, np.uint8)
    dog = np.array([('tail', mask)], dtype=[('part_name', object), ('mask', object)])
    objects = np.array([('person', 15, mask, rows), ('dog', 12, mask, dog)], dtype=kinds)
    return dict(imname='x', objects=objects)


def build(config, root, **options):
    cfg = Config.fromfile(diff2in1_mm.config_path(f'diff2in1_{config}.py'))
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.update(data_root=str(root), pipeline=cfg.test_dataloader.dataset.pipeline, **options)
    check_folders(dataset)
    return DATASETS.build(dataset)


def test_nyud_mt_reads_all_four(tmp_path):
    data = build('nyud_mt', nyud(tmp_path))
    assert len(data) == 3 and data.missing == {} and len(data.metainfo['classes']) == 40
    sample, raw = data[0]['data_samples'], cv2.imread(str(tmp_path / 'segmentation/0004.png'), 0).astype(int)
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0], np.where(raw == 0, 255, raw - 1))
    np.testing.assert_allclose(sample.gt_depth_map.data[0], np.load(tmp_path / 'depth/0004.npy'))
    edges = cv2.imread(str(tmp_path / 'edge/0004.png'), 0)
    np.testing.assert_array_equal(sample.gt_boundary_map.data[0], edges // 255)
    np.testing.assert_allclose(np.linalg.norm(sample.gt_normal_map.data, axis=0), 1, atol=1e-5)
    assert len(build('nyud_mt', tmp_path, num_labelled=2)) == 2


def test_what_an_image_lacks_is_counted_and_left_out(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('diff2in1_mm.datasets.multi_task.print_log', lambda text, *_, **__: said.append(text))
    nyud(tmp_path)
    for gone in ('depth/0001.npy', 'segmentation/0001.png', 'edge/0002.png'):
        (tmp_path / gone).unlink()
    data = build('nyud_mt', tmp_path)
    assert data.missing == dict(seg_map_path=['0001'], depth_map_path=['0001'], boundary_map_path=['0002'])
    assert any(text.startswith('1 of 3 images have no depth_map (0001)') for text in said)
    fields = [set(data[i]['data_samples'].keys()) for i in range(3)]
    assert (
        fields[1] == {'gt_normal_map', 'gt_boundary_map'} and 'gt_boundary_map' not in fields[2] and len(fields[0]) == 4
    )
    (tmp_path / 'normals/0004.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match='normals/0004.png cannot be read'):
        data[0]
    (tmp_path / 'images/0002.png').unlink()
    with pytest.raises(FileNotFoundError, match='0002 of the split'):
        build('nyud_mt', tmp_path)
    with pytest.raises(FileNotFoundError, match='list of images .*val.txt does not exist'):
        build('nyud_mt', tmp_path, split='val')
    names_of(tmp_path, 'gt_sets/val.txt', [])
    with pytest.raises(ValueError, match='is empty'):
        build('nyud_mt', tmp_path, split='val')


def test_pascal_context_reads_all_five(tmp_path):
    data = build('pascal_context_mt', pascal(tmp_path), normals_classes=[113])
    assert len(data) == 2 and data.missing == {}
    first, second = (data[i]['data_samples'] for i in range(2))
    parts = first.gt_part_map.data[0].numpy()
    assert (parts[:4, :4] == 1).all() and (parts[-4:, -4:] == 6).all() and (parts > 0).sum() == 32
    assert (second.gt_part_map.data == 255).all()  # nobody's parts: nothing counts
    assert (first.gt_saliency_map.data[0, :, :16] == 0).all() and (first.gt_saliency_map.data[0, :, 16:] == 1).all()
    boundaries = first.gt_boundary_map.data[0]
    assert (boundaries[:, 15] == 1).all() and boundaries.sum() == SIZE[0]
    normals = first.gt_normal_map.data
    assert (normals[:, :, :16] == 0).all() and (normals[:, :, 16:] != 0).any(0).all()
    raw = cv2.imread(str(tmp_path / 'semseg/pascal-context/2008_000002.png'), 0)
    np.testing.assert_array_equal(second.gt_sem_seg.data[0], raw)
    (tmp_path / 'human_parts/2008_000001.mat').write_bytes(b'no such file')
    with pytest.raises(OSError, match="human_parts/2008_000001.mat cannot be read as a MATLAB file with 'anno'"):
        data[0]
