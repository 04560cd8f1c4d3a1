"""Depth and normals of source images as labels of what was made from them."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from diff2in1_mm.datasets import LoadDepth, LoadNormals
from diff2in1_mm.synthesis.batch_labels import BatchLabels
from diff2in1_mm.synthesis.codecs.scenes import encode_normals
from diff2in1_mm.synthesis.labellers.source_scenes import scene_loader, source_scene

from .test_scene_labellers import Model


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
    label = source_scene(dict(normal_map_path=str(tmp_path / 'a.png')), (2, 4),
                         LoadNormals(flip_axes='y'), 'gt_normal_map')
    np.testing.assert_allclose(label.annotation, (vectors * [1, -1, 1]).repeat(2, 1), atol=1e-4)
    assert label.quality == dict(ignored=0.25)


def test_a_pipeline_that_does_not_load_the_labels():
    init_default_scope('mmseg')
    model = Model()
    model.backbone, model.label_task = torch.nn.Identity(), 'depth'
    with pytest.raises(ValueError, match="has no LoadDepth: add it, or set it to 'fresh'"):
        BatchLabels(model, 'source', transforms=[LoadNormals()])
