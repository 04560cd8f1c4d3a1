"""Depth and normals of source images as labels of what was made from them."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.datasets.transforms.loading import LoadDepth, LoadNormals
from diff2in1_mm.tasks import build_task
from diff2in1_mm.tasks.dense import scene_loader, source_scene
from diff2in1_mm.tasks.normals import encode_normals

from .test_normals_and_depth import Model


def test_depth_is_read_as_the_data_set_does(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[0, 1000], [2500, 60000]], np.uint16))
    entry = dict(depth_map_path=str(tmp_path / 'a.png'))
    loader = scene_loader([LoadNormals(), LoadDepth(scale=0.002, max_depth=20.0)], 'LoadDepth')
    label = source_scene(entry, (4, 4), loader, 'gt_depth_map')
    expected = np.array([[0, 2], [5, 0]], np.float32)  # zero and beyond 20 m: no label
    np.testing.assert_allclose(label.annotation, expected.repeat(2, 0).repeat(2, 1))
    assert label.quality == dict(ignored=0.5) and list(entry) == ['depth_map_path']


def test_normals_are_in_our_frame(tmp_path):
    vectors = np.zeros((2, 2, 3), np.float32)
    vectors[0, 0], vectors[0, 1], vectors[1, 0] = (0, 1, 0), (0, 0, 1), (0.6, 0, 0.8)
    cv2.imwrite(str(tmp_path / 'a.png'), encode_normals(vectors)[..., ::-1])
    label = source_scene(
        dict(normal_map_path=str(tmp_path / 'a.png')), (2, 4), LoadNormals(flip_axes='y'), 'gt_normal_map'
    )
    np.testing.assert_allclose(label.annotation, (vectors * [1, -1, 1]).repeat(2, 1), atol=1e-4)
    assert label.quality == dict(ignored=0.25)


def test_a_pipeline_that_does_not_load_the_labels():
    init_default_scope('mmseg')
    model = Model()
    model.backbone, model.label_tasks = torch.nn.Identity(), ('depth',)
    with pytest.raises(ValueError, match="has no LoadDepth: add it, or set it to 'fresh'"):
        BatchLabels(model, 'source', transforms=[LoadNormals()])


def mmsegmentations(factor, backend='cv2'):
    transforms = pytest.importorskip('mmseg.datasets.transforms')
    return transforms.LoadDepthAnnotation(backend, depth_rescale_factor=factor)


def depth_model():
    init_default_scope('mmseg')
    model = Model()
    model.backbone, model.label_tasks = torch.nn.Identity(), ('depth',)
    return model


@pytest.mark.parametrize(
    'file, factor, backend', [('png', 1 / 256, 'cv2'), ('png', 1.0, 'cv2'), ('npy', 0.001, 'cv2'), ('npy', 1.0, 'cv2')]
)
def test_a_loader_that_reads_other_depth_from_the_store_is_refused(file, factor, backend):
    loader = mmsegmentations(factor, backend)
    for label_from in ('fresh', 'last_step'):
        with pytest.raises(
            ValueError,
            match=r"holds depth as .*type='LoadDepth', scale=[0-9.]+\),"
            ' .*in place of it$',
        ):
            BatchLabels(depth_model(), label_from, labelling=dict(file=file), transforms=[loader])


@pytest.mark.parametrize('file, factor, backend', [('png', 1e-3, 'cv2'), ('npy', 1.0, 'numpy')])
def test_mmsegmentations_loader_may_read_the_store_rightly(file, factor, backend, tmp_path):
    loader = mmsegmentations(factor, backend)
    labels = BatchLabels(depth_model(), labelling=dict(file=file), transforms=[loader])
    (task,) = labels.tasks
    codec = build_task(task, [])
    depth = np.array([[0, 1.25], [2.5, 60]], np.float32)
    path = tmp_path / f'a{codec.suffix}'
    path.write_bytes(codec.encode(depth, None, (2, 2))[codec.suffix])
    entry = dict(seg_fields=[])
    codec.point_at(entry, path)
    np.testing.assert_allclose(loader(entry)['gt_depth_map'], depth, rtol=1e-6)


def test_loaders_that_take_the_unit_of_the_entry_are_not_refused():
    class Own(LoadDepth):
        """Reads the data set's own files in its own way."""

    for transforms in ([LoadDepth(scale=1 / 256)], [Own()], [], [mmsegmentations(1 / 256), LoadDepth(scale=1 / 256)]):
        BatchLabels(depth_model(), transforms=transforms)
    assert isinstance(scene_loader([Own()], 'LoadDepth'), Own)


def test_joined_data_sets_that_load_otherwise():
    """Source labels of both would be read by the first one's loader."""
    labels = BatchLabels(depth_model(), 'source', transforms=[LoadDepth(scale=0.001)])
    labels.check_pipeline([LoadDepth(scale=0.001)])
    with pytest.raises(ValueError, match="by one LoadDepth, but .*'scale': 0.001.*'scale': 0.01.*convert the files"):
        labels.check_pipeline([LoadDepth(scale=0.01)])
    BatchLabels(depth_model(), transforms=[LoadDepth(scale=0.001)]).check_pipeline([LoadDepth(scale=0.01)])
