"""The semantic head of HTC and SCNet: its own prediction as target, and rows of which nothing is known."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from torch import nn

pytest.importorskip('mmdet')

from mmdet.models.roi_heads.mask_heads import FusedSemanticHead, SCNetSemanticHead  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

from diff2in1_mm.tasks import labeller_for  # noqa: E402
from diff2in1_mm.tasks.instances import DetectionLabeller, InstancesTask  # noqa: E402
from diff2in1_mm.tasks.semantic_heads import give_map, map_of, semantic_head, watched  # noqa: E402


def new_head(kind=FusedSemanticHead, **loss):
    options = dict(type='CrossEntropyLoss', ignore_index=255)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return kind(
            num_ins=2,
            fusion_level=1,
            seg_scale_factor=1 / 8,
            num_convs=2,
            in_channels=4,
            conv_out_channels=4,
            num_classes=3,
            loss_seg={**options, **loss},
        )


def maps(rows=2):
    """Of images of 32 pixels, at strides 4 and 8."""
    torch.manual_seed(0)
    return [torch.randn(rows, 4, 8, 8, requires_grad=True), torch.randn(rows, 4, 4, 4, requires_grad=True)]


class Cascade(nn.Module):
    """A detector that finds one box, and has a semantic head, as HTC."""

    def __init__(self, head, found):
        super().__init__()
        self.roi_head = nn.Module()
        self.roi_head.semantic_head, self.roi_head.with_semantic = head, True
        self.found, self.maps = found, maps(len(found))

    def predict(self, inputs, samples, rescale):
        self.roi_head.semantic_head(self.maps)
        for sample, found in zip(samples, self.found):
            sample.pred_instances = found
        return samples


def box(score):
    return InstanceData(bboxes=torch.tensor([[0.0, 0, 9, 9]]), scores=torch.tensor([score]), labels=torch.tensor([1]))


def training_sample(size):
    sample = DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=(32, 32)))
    sample.gt_instances = box(1.0)
    sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, 32, 32), 255, dtype=torch.uint8))
    return sample


def test_its_prediction_is_the_target_where_there_is_a_sure_box():
    model = Cascade(new_head(), [box(0.95), box(0.5)])
    labeller = DetectionLabeller(model)
    sizes = (24, 32), (32, 20)
    samples = [training_sample(size) for size in sizes]
    labeller.assign(samples, labeller.predict(model, torch.zeros(2, 3, 32, 32), samples))
    whole = model.roi_head.semantic_head(model.maps)[0].argmax(1).repeat_interleave(8, 1).repeat_interleave(8, 2)
    target = samples[0].gt_sem_seg.sem_seg
    assert target.shape == (1, 32, 32) and target.dtype == torch.uint8  # as real images' are stacked with it
    assert torch.equal(target[0, :24], whole[0, :24].byte()) and (target[0, 24:] == 255).all()
    assert (samples[1].gt_sem_seg.sem_seg == 255).all()  # it keeps what it had


@pytest.mark.parametrize('kind', [FusedSemanticHead, SCNetSemanticHead])
@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_ignored_rows_teach_nothing(kind, avg_non_ignore):
    head = new_head(kind, avg_non_ignore=avg_non_ignore)
    labels = torch.full((2, 1, 32, 32), 255, dtype=torch.uint8)
    for real in (True, False):
        labels[0] = 1 if real else 255
        features = maps()
        loss = head.loss(head(features)[0], labels)
        loss.backward()
        gradients = [feature.grad.abs().sum((1, 2, 3)) for feature in features]
        assert all(gradient[1] == 0 for gradient in gradients)
        assert all((gradient[0] > 0) == real for gradient in gradients)
        assert torch.isfinite(loss) and (loss > 0) == real


def test_a_map_is_that_of_the_image_without_padding():
    classes = torch.tensor([[0, 1], [2, 0]])
    found = map_of(classes, (4, 6), (3, 5))
    assert found.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [2, 2, 2, 0, 0]] and found.dtype == torch.int64


def test_a_sample_without_a_map_gets_one():
    sample = DetDataSample()
    give_map(sample, torch.tensor([[2, 1]]))
    assert sample.gt_sem_seg.sem_seg.tolist() == [[[2, 1]]]


def test_detectors_without_such_a_head():
    model = nn.Module()
    model.roi_head = SimpleNamespace(with_semantic=False)
    assert semantic_head(model) is semantic_head(nn.Module()) is None
    with watched(model) as found:
        pass
    assert found == []


def test_the_head_is_watched_while_it_predicts_only():
    model = Cascade(new_head(), [box(0.9)])
    with watched(model) as found:
        model.roi_head.semantic_head(model.maps)
    model.roi_head.semantic_head(model.maps)
    assert [tuple(classes.shape) for classes in found] == [(1, 4, 4)]


def test_a_head_that_ignores_nothing_is_refused():
    model = Cascade(new_head(ignore_index=None), [])
    with pytest.raises(
        TypeError, match='Cascade: its semantic head has ignore_index=None, .*loss_seg.ignore_index to 255'
    ):
        labeller_for(model)
    model.roi_head.semantic_head = new_head()
    assert not InstancesTask.fits(model)  # it is none of MMDetection's, but nothing is to be mended
