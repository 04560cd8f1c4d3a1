"""Normals stay those of the scene through loading, flips, turns, resizes, packing and batching."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope

pytest.importorskip('mmseg')

from ...hostile_files import Code  # noqa: E402
from .scenes import SIZE, median_error, write_scene  # noqa: E402

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadNormals'), dict(type='LoadDepth')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp('scene'))


def run(info, *steps):
    results = dict(info, seg_fields=[])
    for step in (*LOAD, *steps):
        results = TRANSFORMS.build(step)(results)
    return results


def packed(info, *steps):
    sample = run(info, *steps, dict(type='PackSceneInputs'))['data_samples']
    return sample.gt_normal_map.data.numpy().transpose(1, 2, 0), sample.gt_depth_map.data[0].numpy()


def test_loaded_as_rendered(scene):
    info, room = scene
    results = run(info)
    np.testing.assert_allclose(results['gt_normal_map'], room.normals, atol=1e-4)
    np.testing.assert_allclose(results['gt_depth_map'], room.depth, atol=6e-4)
    assert median_error(results['gt_normal_map'], results['gt_depth_map']) < 2.5


@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_a_flip_turns_the_vectors(scene, direction):
    normals, depth = packed(scene[0], dict(type='RandomFlip', prob=1.0, direction=direction))
    assert median_error(normals, depth) < 2.5
    wrong = normals * ([-1, 1, 1] if direction == 'horizontal' else [1, -1, 1])
    assert median_error(wrong, depth) > 10


@pytest.mark.parametrize('before', [0, 1])
def test_a_turn_turns_the_vectors_whatever_was_flipped(scene, before):
    normals, depth = packed(
        scene[0], dict(type='RandomFlip', prob=float(before)), dict(type='RotateScene', prob=1.0, degree=(25, 25))
    )
    assert median_error(normals, depth) < 3.5
    length = np.linalg.norm(normals, axis=-1)
    assert ((length == 0) | (abs(length - 1) < 1e-5)).all() and (length == 0).mean() > 0.05
    assert ((depth == 0) == (length == 0)).mean() > 0.999


def test_a_resize_keeps_unit_length(scene):
    normals, depth = packed(scene[0], dict(type='Resize', scale=(200, 150), keep_ratio=False))
    assert normals.shape == (150, 200, 3)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)


def test_a_turn_by_mmsegmentation_is_refused(scene):
    with pytest.raises(ValueError, match='RotateScene'):
        packed(scene[0], dict(type='RandomRotate', prob=1.0, degree=(20, 20)))


def test_normals_loaded_after_a_flip_stay(scene):
    """At test time the image alone is mirrored, and the prediction is mirrored back."""
    info, room = scene
    results = dict(info, seg_fields=[])
    for step in (LOAD[0], dict(type='RandomFlip', prob=1.0), *LOAD[1:], dict(type='PackSceneInputs')):
        results = TRANSFORMS.build(step)(results)
    loaded = results['data_samples'].gt_normal_map.data.numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(loaded, room.normals, atol=1e-4)


def test_depth_filled_in_with_a_label_is_refused(scene):
    info = scene[0]
    results = dict(info, seg_fields=[])
    steps = [LOAD[0], LOAD[2], dict(type='RandomRotate', prob=1.0, degree=(20, 20)), dict(type='PackSceneInputs')]
    with pytest.raises(ValueError, match='filled with 255.*RotateScene'):
        for step in steps:
            results = TRANSFORMS.build(step)(results)
    steps[2]['seg_pad_val'] = 0
    results = dict(info, seg_fields=[])
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    assert results['data_samples'].gt_depth_map.data.max() < 50


def test_padding_is_no_ground_truth(scene):
    samples = [
        run(scene[0], dict(type='PackSceneInputs')),
        run(scene[0], dict(type='Resize', scale=(64, 48)), dict(type='PackSceneInputs')),
    ]
    batch = dict(inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples])
    preprocessor = MODELS.build(dict(type='SceneDataPreProcessor', size=(112, 144)))
    data = preprocessor(batch, training=True)
    assert data['inputs'].shape == (2, 3, 112, 144)
    for sample, (height, width) in zip(data['data_samples'], (SIZE, (48, 64))):
        assert tuple(sample.pad_shape) == (112, 144)
        for name in ('gt_depth_map', 'gt_normal_map'):
            field = sample.get(name).data
            assert field.shape[-2:] == (112, 144)
            assert (field[..., height:, :] == 0).all() and (field[..., :, width:] == 0).all()
            assert (field[..., :height, :width] != 0).any(0).all()


@pytest.mark.parametrize('late', ['LoadNormals', 'LoadDepth'])
@pytest.mark.parametrize('size', [(160, 120), (64, 48)])
def test_truth_of_another_size_than_the_image_is_told(scene, late, size):
    """As a pipeline for testing loads it, after the resize."""
    results = dict(scene[0], seg_fields=[])
    for step in (LOAD[0], dict(type='Resize', scale=size), dict(type=late), dict(type='PackSceneInputs')):
        results = TRANSFORMS.build(step)(results)
    batch = dict(inputs=[results['inputs']], data_samples=[results['data_samples']])
    with pytest.raises(ValueError, match=f'image.png .* size {size[0]} x {size[1]} .*load it'):
        MODELS.build(dict(type='SceneDataPreProcessor', size=(128, 160)))(batch, training=True)


def test_files_of_a_store_bring_their_own_scale(scene):
    info, room = scene
    info = dict(info, depth_scale=0.002, normals_in_camera_frame=True)
    results = dict(info, seg_fields=[])
    for step in (LOAD[0], dict(type='LoadNormals', flip_axes='yz'), dict(type='LoadDepth')):
        results = TRANSFORMS.build(step)(results)
    np.testing.assert_allclose(results['gt_normal_map'], room.normals, atol=1e-4)
    np.testing.assert_allclose(results['gt_depth_map'], 2 * room.depth, atol=2e-3)


class TestBadFiles:
    def load(self, tmp_path, kind, array, **options):
        path = str(tmp_path / 'x.png')
        cv2.imwrite(path, array)
        key = 'normal_map_path' if kind == 'LoadNormals' else 'depth_map_path'
        return TRANSFORMS.build(dict(type=kind, **options))({key: path, 'ori_shape': (6, 8), 'seg_fields': []})

    def test_size(self, tmp_path):
        with pytest.raises(ValueError, match='is 9 x 6, but its image 8 x 6'):
            self.load(tmp_path, 'LoadNormals', np.ones((6, 9, 3), np.uint8))
        with pytest.raises(ValueError, match='one size'):
            self.load(tmp_path, 'LoadDepth', np.ones((5, 8), np.uint16))

    def test_channels(self, tmp_path):
        with pytest.raises(ValueError, match='three channels'):
            self.load(tmp_path, 'LoadNormals', np.ones((6, 8), np.uint8))
        with pytest.raises(ValueError, match='one channel'):
            self.load(tmp_path, 'LoadDepth', np.ones((6, 8, 3), np.uint8))

    def test_depth_out_of_range_is_invalid(self, tmp_path):
        depth = np.full((6, 8), 3000, np.uint16)
        depth[0, :2] = 0, 20000
        found = self.load(tmp_path, 'LoadDepth', depth, max_depth=10.0)['gt_depth_map']
        assert found[0, 0] == 0 and found[0, 1] == 0 and found[1, 1] == pytest.approx(3)

    def test_black_is_no_normal(self, tmp_path):
        picture = np.full((6, 8, 3), 255, np.uint8)
        picture[0, 0] = 0
        found = self.load(tmp_path, 'LoadNormals', picture)['gt_normal_map']
        assert (found[0, 0] == 0).all()
        assert np.allclose(np.linalg.norm(found[1], axis=-1), 1)

    def test_no_picture(self, tmp_path):
        path = tmp_path / 'x.png'
        path.write_bytes(b'no picture')
        with pytest.raises(OSError, match='cannot be read'):
            TRANSFORMS.build(dict(type='LoadDepth'))(dict(depth_map_path=str(path)))

    def test_arrays_that_are_a_pickle_or_nothing(self, tmp_path):
        np.save(tmp_path / 'pickle.npy', np.array([[Code(tmp_path)]]))
        (tmp_path / 'empty.npy').touch()
        for name in ('pickle.npy', 'empty.npy'):
            with pytest.raises(OSError, match=f'{name} cannot be read as an array'):
                TRANSFORMS.build(dict(type='LoadDepth'))(dict(depth_map_path=str(tmp_path / name)))
        assert not (tmp_path / 'was_run').exists()

    def test_numpy_file(self, tmp_path):
        np.save(tmp_path / 'd.npy', np.array([[1.5, np.nan]]))
        found = TRANSFORMS.build(dict(type='LoadDepth', scale=1.0))(dict(depth_map_path=str(tmp_path / 'd.npy')))
        assert found['gt_depth_map'].tolist() == [[1.5, 0]]


def test_torch_and_numpy_agree_on_a_flip(scene):
    """The estimator's un-flip is the inverse of the pipeline's flip."""
    from diff2in1_mm.models.segmentors.normal_estimator import NormalEstimator

    plain, _ = packed(scene[0])
    flipped, _ = packed(scene[0], dict(type='RandomFlip', prob=1.0))
    back = NormalEstimator.unflip(
        NormalEstimator.__new__(NormalEstimator), torch.from_numpy(flipped).permute(2, 0, 1)[None]
    )
    np.testing.assert_allclose(back[0].permute(1, 2, 0).numpy(), plain, atol=1e-6)


@pytest.mark.parametrize('top, found', [(1, 1), (255, 1), (7, 0)])
def test_boundary_maps_of_0_and_1_are_read_as_such(tmp_path, top, found):
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1] = top
    cv2.imwrite(str(tmp_path / 'edges.png'), drawn)
    results = dict(boundary_map_path=str(tmp_path / 'edges.png'), img_shape=(4, 6), ori_shape=(4, 6))
    loaded = TRANSFORMS.build(dict(type='LoadBoundaries'))(results)['gt_boundary_map']
    assert (loaded[1] == found).all() and not loaded[[0, 2, 3]].any()
