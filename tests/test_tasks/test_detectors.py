"""What labellers ask of MMDetection's models, and the targets that they make."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn

pytest.importorskip('mmdet')

from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402

from diff2in1_mm.switch_in.maps import given_maps  # noqa: E402
from diff2in1_mm.switch_in.trial import put_maps  # noqa: E402
from diff2in1_mm.tasks.detectors import new_detection_samples, predict_samples, target_of_boxes  # noqa: E402
from diff2in1_mm.tasks.instances import DetectionLabeller  # noqa: E402

from ..detectors import stock_model  # noqa: E402
from ..versions import needs_detectors  # noqa: E402


def found(*rows):
    rows = torch.tensor(rows, dtype=torch.float).reshape(-1, 5)
    masks = torch.ones(len(rows), 20, 24, dtype=torch.bool)
    labels = torch.arange(len(rows))
    return InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=labels, masks=masks)


def boxinst_sample(objects=2):
    """As BoxInst's data preprocessor leaves a sample: the pixels alike are the same for all objects."""
    sample = DetDataSample(metainfo=dict(batch_input_shape=(32, 32), img_shape=(20, 24)))
    alike = torch.rand(1, 8, 8, 8).round()
    sample.gt_instances = InstanceData(
        bboxes=torch.zeros(objects, 4),
        labels=torch.zeros(objects, dtype=torch.long),
        masks=BitmapMasks(torch.zeros(objects, 32, 32).numpy(), 32, 32),
        pairwise_masks=alike.repeat(objects, 1, 1, 1),
    )
    return sample, alike


def test_boxinst_learns_from_boxes_and_pixels_that_look_alike():
    sample, alike = boxinst_sample()
    rows = [2.4, 3, 9.2, 7.9, 0.95], [0, 0, 24, 20, 0.99], [0, 0, 9, 9, 0.95]
    DetectionLabeller(nn.Module()).assign([sample], [found(*rows)])
    target = sample.gt_instances
    assert len(target) == 3 and torch.equal(target.pairwise_masks, alike.repeat(3, 1, 1, 1))
    masks = target.masks.to_tensor(torch.bool, 'cpu')
    assert masks.shape == (3, 32, 32)
    assert masks[0, 3:8, 2:10].all() and masks[0].sum() == 5 * 8  # the box, not what the mask head predicts
    assert masks[2].sum() == 100


def test_boxinst_without_a_stored_object_keeps_its_empty_target():
    sample, _ = boxinst_sample(objects=0)
    labeller = DetectionLabeller(nn.Module(), allow_empty=True)
    labeller.assign([sample], [found([0, 0, 9, 9, 0.95])])
    assert len(sample.gt_instances) == 0 and 'pairwise_masks' in sample.gt_instances
    assert target_of_boxes(found([0, 0, 9, 9, 0.95]), sample.gt_instances) is None


def test_boxinst_may_learn_that_there_is_nothing():
    sample, _ = boxinst_sample()
    DetectionLabeller(nn.Module(), allow_empty=True).assign([sample], [found()])
    assert len(sample.gt_instances) == 0 and sample.gt_instances.pairwise_masks.shape == (0, 8, 8, 8)


@needs_detectors
def test_mirrored_samples_of_cascades_are_not_mirrored_back():
    """Their mask heads do that with what the metainfo says, and fail."""
    config = ConfigDict(stock_model('htc'))
    config.backbone = dict(type=nn.Identity)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config).eval()
    put_maps(model, given_maps(config.neck.in_channels, [4, 8, 16, 32]))
    images, samples = torch.randn(1, 3, 64, 64), new_detection_samples(1, (64, 64))
    with torch.no_grad():
        (as_it_is,) = predict_samples(model, images, samples)
        samples[0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
        (mirrored,) = predict_samples(model, images, samples)
    assert len(as_it_is.pred_instances) and samples[0].flip
    assert torch.equal(mirrored.pred_instances.masks, as_it_is.pred_instances.masks)
