"""Normals and depth in files: round trips, what other tools read, bad annotations."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from diff2in1_mm.tasks import build_task
from diff2in1_mm.tasks.normals import decode_normals, encode_normals

from ..hostile_files import Code
from .test_instances_files import record

NORMALS, DEPTH, ARRAY = (build_task(task) for task in ('normals', 'depth', 'depth_npy'))


def written(codec, annotation, folder):
    for suffix, content in codec.encode(annotation, record(), annotation.shape[:2]).items():
        (folder / f'a{suffix}').write_bytes(content)
    return folder / f'a{codec.suffix}'


def unit(seed, *shape):
    vectors = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32)))
def test_normals_keep_their_direction_to_a_hundredth_of_a_degree(raw):
    length = np.linalg.norm(raw, axis=-1, keepdims=True)
    vectors = np.where(length > 1e-3, raw / np.maximum(length, 1e-3), 0)[None].astype(np.float32)
    back = decode_normals(encode_normals(vectors))
    valid = (vectors != 0).any(-1)
    np.testing.assert_array_equal((back != 0).any(-1), valid)
    cross = np.linalg.norm(np.cross(back, vectors), axis=-1)
    assert np.degrees(np.arcsin(cross[valid].clip(0, 1))).max(initial=0) < 0.01
    assert ((back * vectors).sum(-1)[valid] > 0).all()


def test_normals_in_a_file(tmp_path):
    vectors = unit(0, 5, 7)
    vectors[0, 0] = 0
    path = written(NORMALS, vectors, tmp_path)
    np.testing.assert_allclose(NORMALS.decode(path), vectors, atol=5e-5)
    assert (NORMALS.decode(path)[0, 0] == 0).all()
    # 16 bits per channel, red is x: as any other tool reads it
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint16 and picture.shape == (5, 7, 3)
    np.testing.assert_allclose(picture[1:, :, 2] / 65535 * 2 - 1, vectors[1:, :, 0], atol=2e-5)
    info = dict(normal_map_path='real')
    NORMALS.point_at(info, path)
    assert info == dict(normal_map_path=str(path), normals_in_camera_frame=True)


def test_depth_in_millimetres(tmp_path):
    depth = np.random.default_rng(0).uniform(0, 65.5, (5, 7)).astype(np.float32)
    depth[0, 0] = 0
    path = written(DEPTH, depth, tmp_path)
    np.testing.assert_allclose(DEPTH.decode(path), depth, atol=5.1e-4)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint16 and picture[0, 0] == 0
    info = {}
    DEPTH.point_at(info, path)
    assert info == dict(depth_map_path=str(path), depth_scale=0.001)


def test_depth_in_arrays_has_no_limit(tmp_path):
    depth = np.random.default_rng(0).uniform(0, 300, (5, 7)).astype(np.float32)
    path = written(ARRAY, depth, tmp_path)
    np.testing.assert_array_equal(ARRAY.decode(path), depth)
    info = {}
    ARRAY.point_at(info, path)
    assert info == dict(depth_map_path=str(path), depth_scale=1.0)


@pytest.mark.parametrize(
    'codec, annotation, words',
    [
        (NORMALS, np.ones((4, 5)), 'vectors of three components'),
        (NORMALS, np.ones((4, 5, 4)), 'vectors of three components'),
        (NORMALS, np.full((4, 5, 3), np.nan), 'finite'),
        (NORMALS, np.ones((4, 6, 3)), 'one label per'),
        (DEPTH, np.ones((4, 5, 1)), 'one per pixel'),
        (DEPTH, np.full((4, 5), -1.0), 'metres >= 0'),
        (DEPTH, np.full((4, 5), np.inf), 'finite'),
        (DEPTH, np.full((4, 5), 70.0), "file='npy'"),
        (ARRAY, np.full((4, 5), np.nan), 'finite'),
        (ARRAY, np.ones((5, 5)), 'one label per'),
    ],
)
def test_bad_annotations(codec, annotation, words):
    with pytest.raises(ValueError, match=words):
        codec.encode(annotation, record(), (4, 5))


@pytest.mark.parametrize('codec', [NORMALS, DEPTH, ARRAY])
def test_damaged_files(codec, tmp_path):
    path = tmp_path / f'a{codec.suffix}'
    for content in (b'', b'no file of this kind'):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            codec.decode(path)


def test_a_pickle_in_an_array_file_is_refused(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[Code(tmp_path)]]))
    with pytest.raises(ValueError, match='allow_pickle=False'):
        ARRAY.decode(tmp_path / 'a.npy')
    assert not (tmp_path / 'was_run').exists()


def test_eight_bits_are_no_file_of_a_store(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.ones((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match='16 bits'):
        NORMALS.decode(tmp_path / 'a.png')
