"""Labels of one sample from different sources, and samples whose labels contradict one another."""

import cv2
import numpy as np
import pytest
import torch

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.datasets.transforms.loading import LoadDepth

from ..test_tasks.test_joint import SIZE, TwoTasks, scope  # noqa: F401


def entry(folder):
    own = np.full(SIZE, 3, np.uint8)
    cv2.imwrite(str(folder / 'own.png'), own)
    return dict(seg_map_path=str(folder / 'own.png'))


def test_one_task_keeps_the_source_images_label(tmp_path):
    pixels = torch.randint(1, 10, (1, 3, *SIZE), dtype=torch.uint8)
    labels = BatchLabels(TwoTasks(), dict(segmentation='source', depth='fresh'), transforms=[LoadDepth()])
    (label,) = labels(pixels, {}, [entry(tmp_path)])
    assert (label.annotation['segmentation'] == 3).all() and label.quality['segmentation.confidence'] == 1
    (fresh,) = BatchLabels(TwoTasks())(pixels, {}, [{}])
    np.testing.assert_array_equal(label.annotation['depth'], fresh.annotation['depth'])
    both = BatchLabels(TwoTasks(), dict(segmentation='source', depth='source'), transforms=[LoadDepth()])
    assert both.of_source


def test_what_cannot_be_is_told(tmp_path):
    with pytest.raises(ValueError, match="names the task 'pose', but TwoTasks has segmentation, depth"):
        BatchLabels(TwoTasks(), dict(pose='source'))
    with pytest.raises(ValueError, match='has no LoadDepth'):
        BatchLabels(TwoTasks(), dict(depth='source'), transforms=[object()])
    with pytest.raises(ValueError, match="label_from.'depth'"):
        CreationSettings(label_from=dict(depth='last_step'))
    with pytest.raises(ValueError, match='above 0'):
        CreationSettings(consistency=dict(depth_normals=-1))


def test_samples_that_contradict_themselves_are_not_stored(monkeypatch):
    figures = iter([10.0, 40.0])
    monkeypatch.setattr(
        'diff2in1_mm.tasks.joint.consistency', lambda labels, focal: {'consistency.depth_normals': next(figures)}
    )
    monkeypatch.setattr('diff2in1_mm.creation.batch_labels.check_tasks', lambda limits, tasks: None)  # no normals
    labels = BatchLabels(TwoTasks(), consistency=dict(depth_normals=30, focal=0.9))
    pixels = torch.randint(1, 10, (2, 3, *SIZE), dtype=torch.uint8)
    good, bad = labels(pixels, {}, [{}, {}])
    assert good.quality['consistency.depth_normals'] == 10 and bad is None and labels.labeller.focal == 0.9
    assert labels.contradicting == 1
