"""What stands for the boxes of a trained detector in a trial."""

import pytest
import torch
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402

from diff2in1_mm.switch_in.trial_batches import with_targets  # noqa: E402


def training_sample():
    sample = DetDataSample(metainfo=dict(img_shape=(6, 8)))
    masks = torch.zeros(2, 9, 9, dtype=torch.uint8)  # padded
    masks[1, 2:4] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 3, 3], [1, 1, 4, 5]]),
        labels=torch.tensor([1, 0]),
        masks=BitmapMasks(masks.numpy(), 9, 9),
    )
    return sample


def predicted(count, **metainfo):
    masks = torch.ones(count, 6, 8, dtype=torch.bool)
    boxes = dict(bboxes=torch.ones(count, 4), labels=torch.ones(count, dtype=torch.long), scores=torch.rand(count))
    return InstanceData(metainfo=metainfo, masks=masks, **boxes)


def test_where_nothing_was_found_targets_are():
    sample = training_sample()
    (found,) = with_targets([predicted(0, label_map='kept')], [sample])
    assert torch.equal(found.bboxes, sample.gt_instances.bboxes) and found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == [1, 1] and found.label_map == 'kept'
    assert found.masks.shape == (2, 6, 8) and found.masks.sum((1, 2)).tolist() == [0, 16]


def test_what_was_found_and_other_predictions_stay():
    found, other = predicted(1), torch.zeros(2)
    assert with_targets([found, other], [training_sample()] * 2) == [found, other]


def test_boxes_alone_get_no_masks():
    nothing = predicted(0)
    del nothing.masks
    (found,) = with_targets([nothing], [training_sample()])
    assert len(found) == 2 and 'masks' not in found
