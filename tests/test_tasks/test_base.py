"""What labels show, and classes that are taken out of a target."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from diff2in1_mm.tasks import build_task
from diff2in1_mm.tasks.instances import Instances
from diff2in1_mm.tasks.panoptic import PanopticMap

CLASSES = ('road', 'sky', 'tree')


def test_what_labels_show():
    raw = np.array([[0, 1], [1, 3]], np.uint8)
    segmentation = build_task('segmentation', CLASSES)
    assert segmentation.shown(raw, {}) == dict(road=0.25, sky=0.5)
    assert segmentation.shown(raw, dict(reduce_zero_label=True)) == dict(road=0.5, tree=0.25)
    boxes = Instances(np.zeros((3, 4)), np.array([2, 2, 0]), np.ones(3), np.array([False, False, True]))
    assert build_task('instances', CLASSES).shown(boxes, {}) == dict(tree=2.0)
    segments = PanopticMap(np.array([[0, 1], [2, 2]]), np.array([1, 2]), 2)
    assert build_task('panoptic', CLASSES).shown(segments, {}) == dict(sky=0.25, tree=0.5)
    assert build_task('depth').shown(np.ones((2, 2)), {}) == build_task('parts', CLASSES).shown(raw, {}) == {}


def objects(*labels):
    count = len(labels)
    return InstanceData(bboxes=torch.arange(4.0 * count).view(count, 4), labels=torch.tensor(labels, dtype=torch.long))


@pytest.mark.parametrize('before', [(), (1,)])
def test_objects_of_a_wrong_class_are_ignored(before):
    structures = pytest.importorskip('mmdet.structures')
    sample = structures.DetDataSample(gt_instances=objects(0, 2, 0), ignored_instances=objects(*before))
    task = build_task('instances', CLASSES)
    task.ignore_classes(sample, [1])
    assert sample.gt_instances.labels.tolist() == [0, 2, 0]
    task.ignore_classes(sample, [0])
    assert sample.gt_instances.labels.tolist() == [2]
    assert sample.ignored_instances.labels.tolist() == [*before, 0, 0]


def test_segments_of_a_wrong_class_go():
    structures = pytest.importorskip('mmdet.structures')
    sample = structures.DetDataSample(
        gt_instances=objects(0, 1), gt_sem_seg=PixelData(sem_seg=torch.tensor([[[0, 1, 2]]]))
    )
    build_task('panoptic', CLASSES).ignore_classes(sample, [1, 2])
    assert sample.gt_instances.labels.tolist() == [0]
    assert sample.gt_sem_seg.sem_seg.tolist() == [[[0, 255, 255]]]
    build_task('depth').ignore_classes(sample, [0])  # knows no classes
    assert sample.gt_instances.labels.tolist() == [0]
