"""Boxes and masks that theta_C makes with MMDetection's detectors."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from diff2in1_mm.tasks.detectors import ignores_boxes
from diff2in1_mm.tasks.instances import DetectionLabeller

from ..versions import needs_detectors


@pytest.fixture(autouse=True)
def mmdetection():
    """Heads look for their losses in MMDetection, whichever test was before."""
    init_default_scope('mmdet')


def boxes(*rows):
    rows = torch.tensor(rows, dtype=torch.float).reshape(-1, 6)
    return InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].long())


def predicted(labeller, *found):
    """What a labeller makes of a detector that finds this."""
    from mmdet.structures import DetDataSample

    model = nn.Module()
    model.predict = lambda inputs, samples, rescale: [DetDataSample(pred_instances=instances) for instances in found]
    samples = labeller.new_samples(len(found), (9, 9))
    return labeller.predict(model, torch.zeros(len(found), 3, 9, 9), samples)


def of_head(head, features):
    """A detector of these features, whatever the image."""
    model = nn.Module()

    def predict(inputs, samples, rescale):
        results = head.eval().predict(features, samples, rescale=rescale)
        for sample, found in zip(samples, results):
            sample.pred_instances = found
        return samples

    model.predict = predict
    return model


class OneImageDetector(nn.Module):
    """Finds a box as large as an image's first feature, as a head of guided anchoring one image at a time."""

    def __init__(self):
        super().__init__()
        self.conv_cls = type('MaskedConv2d', (nn.Module,), {})()  # MMCV's own needs a GPU
        self.passes = 0

    def extract_feat(self, inputs):
        self.passes += 1
        return (inputs[:, :1] * 2,)

    def predict(self, inputs, samples, rescale):
        (maps,) = self.extract_feat(inputs)
        assert len(inputs) == len(samples) == len(maps) == 1
        samples[0].pred_instances = boxes([0, 0, maps[0, 0, 0, 0], 4, 0.9, 0])
        return samples


def test_heads_that_take_one_image_at_a_time():
    model, labeller = OneImageDetector(), DetectionLabeller(nn.Module())
    images = torch.tensor([1.0, 3.0])[:, None, None, None].expand(2, 3, 9, 9)
    found = labeller.predict(model, images, labeller.new_samples(2, (9, 9)))
    assert [float(f.bboxes[0, 2]) for f in found] == [2, 6] and model.passes == 1
    assert 'extract_feat' not in vars(model)


class TestDetection:
    def test_a_box_of_the_minimum_size_is_kept(self):
        found = predicted(DetectionLabeller(nn.Module()), boxes([7, 2, 8, 9, 0.99, 2]))
        assert len(DetectionLabeller(nn.Module()).labels(found, (9, 9), [{}])[0].annotation.labels) == 1

    def test_sure_boxes_become_targets(self):
        from mmdet.structures import DetDataSample

        target = DetDataSample()
        found = boxes([0, 0, 9, 9, 0.95, 1], [0, 0, 9, 9, 0.5, 0], [3, 3, 3.5, 9, 0.99, 2])
        figures = DetectionLabeller(nn.Module()).assign([target], [found])
        assert target.gt_instances.bboxes.tolist() == [[0, 0, 9, 9]]
        assert target.gt_instances.labels.tolist() == [1]
        assert len(target.ignored_instances) == 0
        assert figures['ignored'] == pytest.approx(2 / 3)

    def test_no_box_at_all(self):
        from mmdet.structures import DetDataSample

        target = DetDataSample()
        labeller = DetectionLabeller(nn.Module(), allow_empty=True)
        assert labeller.assign([target], [boxes()])['ignored'] == 0
        assert target.gt_instances.bboxes.shape == (0, 4)
        assert labeller.agreement([boxes()], [boxes()]) == 1
        (label,) = labeller.labels([boxes()], (8, 8), [{}])
        assert len(label.annotation.labels) == 0

    def test_without_a_box_the_stored_target_stays(self):
        from mmdet.structures import DetDataSample

        target = DetDataSample()
        target.gt_instances = boxes([0, 0, 5, 5, 1, 2])
        labeller = DetectionLabeller(nn.Module())
        labeller.assign([target], [boxes([0, 0, 9, 9, 0.5, 0])])
        assert target.gt_instances.labels.tolist() == [2]
        assert labeller.labels([boxes()], (8, 8), [{}]) == [None]

    def test_thresholds_of_classes(self):
        labeller = DetectionLabeller(nn.Module(), confidence=[0.9, 0.5])
        (label,) = labeller.labels([boxes([0, 0, 9, 9, 0.6, 0], [0, 0, 9, 9, 0.6, 1])], (9, 9), [{}])
        assert label.annotation.labels.tolist() == [1]

    def test_boxes_exactly_at_a_threshold_reach_it(self):
        model = nn.Module()
        model.assigner = SimpleNamespace(ignore_iof_thr=0.5)
        found = boxes(*([20.0 * i, 0, 20 * i + 9, 9, score, 0] for i, score in enumerate([0.75, 0.74, 0.25, 0.24])))
        (label,) = DetectionLabeller(model, confidence=0.75, ignore_from=0.25).labels([found], (9, 90), [{}])
        assert label.annotation.scores.tolist() == pytest.approx([0.75, 0.74, 0.25])
        assert label.annotation.ignored.tolist() == [False, True, True]

    def test_unsure_boxes_are_ignored_where_the_detector_can(self):
        model = nn.Module()
        found = boxes([0, 0, 9, 9, 0.95, 1], [20, 0, 29, 9, 0.5, 0], [0, 20, 9, 29, 0.1, 0])
        with pytest.warns(UserWarning, match='changes nothing.*unsure ones are left out'):
            labeller = DetectionLabeller(model, ignore_from=0.3)
        (left_out,) = labeller.labels([found], (30, 30), [{}])
        assert left_out.annotation.ignored.tolist() == [False]
        model.assigner = SimpleNamespace(ignore_iof_thr=0.5)
        (kept,) = DetectionLabeller(model, ignore_from=0.3).labels([found], (30, 30), [{}])
        assert kept.annotation.ignored.tolist() == [False, True]
        model.bbox_assigner = [SimpleNamespace(ignore_iof_thr=-1)]
        assert not ignores_boxes(model)

    @needs_detectors
    def test_doubles_go_where_the_head_leaves_them(self):
        model = nn.Module()
        model.test_cfg = dict(max_per_img=100)  # as DETR's
        found = boxes([0, 0, 10, 10, 0.95, 1], [0, 0, 10, 9, 0.99, 1], [0, 0, 10, 10, 0.95, 0])
        (label,) = DetectionLabeller(model).labels([found], (10, 10), [{}])
        assert sorted(label.annotation.labels.tolist()) == [0, 1]
        model.test_cfg = dict(rcnn=dict(nms=dict(type='nms', iou_threshold=0.5)))
        (label,) = DetectionLabeller(model).labels([found], (10, 10), [{}])
        assert len(label.annotation.labels) == 3

    def test_boxes_and_masks_of_the_source_are_scaled(self):
        entry = dict(
            img_path='a',
            height=10,
            width=20,
            instances=[
                dict(bbox=[2, 0, 10, 5], bbox_label=1, ignore_flag=0, mask=[[2, 0, 10, 0, 10, 5, 2, 5]]),
                dict(bbox=[0, 0, 4, 4], bbox_label=0, ignore_flag=1, mask=[[0, 0, 4, 0, 4, 4, 0, 4]]),
            ],
        )
        (label,) = DetectionLabeller(nn.Module()).source_labels((20, 20), [entry])
        assert label.annotation.bboxes.tolist() == [[2, 0, 10, 10], [0, 0, 4, 8]]
        assert label.annotation.ignored.tolist() == [False, True]
        assert label.annotation.masks.shape == (2, 20, 20)
        assert label.annotation.masks[0].sum() == 80
        with pytest.raises(ValueError, match='has no boxes'):
            DetectionLabeller(nn.Module()).source_labels((8, 8), [dict(img_path='a')])

    @pytest.mark.parametrize('useless', [[5, 5], [5, 5, 15, 10], [5, 5, 15, 5, 15, 10, 5]])
    def test_polygons_without_area_are_left_out_as_mmdetection_does(self, useless):
        transforms = pytest.importorskip('mmdet.datasets.transforms')
        good = [2, 0, 10, 0, 10, 5, 2, 5]
        masks = [[useless], [useless, good], [good, useless], [good], dict(counts=None, size=None)]
        entry = dict(
            img_path='a',
            height=20,
            width=20,
            ori_shape=(20, 20),
            instances=[dict(bbox=[2, 0, 10, 5], bbox_label=1, ignore_flag=0, mask=mask) for mask in masks],
        )
        (label,) = DetectionLabeller(nn.Module()).source_labels((20, 20), [entry])
        read = transforms.LoadAnnotations(with_mask=True)(copy.deepcopy(entry))
        assert label.annotation.ignored.tolist() == [True, False, False, False, True]
        assert label.annotation.ignored.tolist() == read['gt_ignore_flags'].tolist()
        np.testing.assert_array_equal(label.annotation.masks, read['gt_masks'].to_ndarray() > 0)
        assert label.quality['ignored'] == pytest.approx(0.4)

    def test_agreement_needs_class_and_place(self):
        labeller = DetectionLabeller(nn.Module(), confidence=0.5)
        a = boxes([0, 0, 10, 10, 0.9, 1], [20, 20, 30, 30, 0.9, 1])
        b = boxes([0, 1, 10, 10, 0.9, 1], [20, 20, 30, 30, 0.9, 0], [0, 0, 5, 5, 0.1, 1])
        assert labeller.agreement([a], [b]) == pytest.approx(0.5)
        assert labeller.agreement([a], [boxes()]) == 0

    def test_masks_are_padded_like_the_batch(self):
        from mmdet.structures import DetDataSample

        target = DetDataSample(metainfo=dict(batch_input_shape=(32, 32)))
        found = boxes([0, 0, 9, 9, 0.95, 1])
        found.masks = torch.ones(1, 20, 30, dtype=torch.bool)
        DetectionLabeller(nn.Module()).assign([target], [found])
        masks = target.gt_instances.masks.to_ndarray()
        assert masks.shape == (1, 32, 32) and masks.sum() == 600

    def test_a_box_with_an_empty_mask_is_no_target(self):
        found = boxes([0, 0, 9, 9, 0.95, 1], [0, 0, 9, 9, 0.95, 2])
        found.masks = torch.zeros(2, 9, 9, dtype=torch.bool)
        found.masks[1, :3] = True
        (label,) = DetectionLabeller(nn.Module()).labels([found], (9, 9), [{}])
        assert label.annotation.labels.tolist() == [2]

    def test_heads_of_masks_alone_get_boxes(self):
        found = InstanceData(
            bboxes=torch.zeros(2, 4),
            scores=torch.ones(2),
            labels=torch.tensor([1, 0]),
            masks=torch.zeros(2, 9, 9, dtype=torch.bool),
        )
        found.masks[0, 2:5, 3:9] = True
        found.masks[1, 7:, :2] = True
        empty = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.ones(0), labels=torch.ones(0), masks=torch.zeros(0, 9, 9)
        )
        labeller = DetectionLabeller(nn.Module(), allow_empty=True)
        found, empty = predicted(labeller, found, empty)
        assert found.bboxes.tolist() == [[3, 2, 9, 5], [0, 7, 2, 9]]
        assert empty.labels.dtype == torch.int64 and empty.masks.dtype == torch.bool
        whole, nothing = labeller.labels([found, empty], (9, 9), [{}] * 2)
        assert whole.annotation.labels.tolist() == [1, 0]
        assert np.issubdtype(nothing.annotation.labels.dtype, np.integer)

    def test_boxes_of_heads_that_predict_both_stay(self):
        found = boxes([0, 0, 9, 9, 0.95, 1])
        found.masks = torch.zeros(1, 9, 9, dtype=torch.bool)
        found.masks[0, :3] = True
        assert predicted(DetectionLabeller(nn.Module()), found)[0].bboxes.tolist() == [[0, 0, 9, 9]]

    def test_solo_gets_labels(self):
        heads = pytest.importorskip('mmdet.models.dense_heads')
        torch.manual_seed(0)
        head = heads.SOLOHead(
            2,
            8,
            feat_channels=8,
            stacked_convs=1,
            strides=(8, 8),
            num_grids=(4, 2),
            scale_ranges=((1, 32), (16, 64)),
            cls_down_index=0,
            norm_cfg=None,
            loss_mask=dict(type='DiceLoss'),
            loss_cls=dict(type='FocalLoss'),
            test_cfg=Config(
                dict(
                    nms_pre=9, score_thr=0.1, mask_thr=0.3, filter_thr=0.01, kernel='gaussian', sigma=2.0, max_per_img=5
                )
            ),
        )
        head.conv_cls.bias.data.fill_(4.0)  # everything is sure
        model = of_head(head, [torch.randn(1, 8, 16, 16), torch.randn(1, 8, 8, 8)])
        labeller = DetectionLabeller(model, confidence=0.05)
        found = labeller.predict(model, torch.zeros(1, 3, 64, 64), labeller.new_samples(1, (64, 64)))
        assert len(found[0])
        (label,) = labeller.labels(found, (64, 64), [{}])
        assert len(label.annotation.labels)

    @pytest.mark.parametrize('metainfo', [{}, dict(border=(3, 40, 5, 40))])
    def test_centernet_predicts_in_the_pixels_of_the_batch(self, metainfo):
        heads = pytest.importorskip('mmdet.models.dense_heads')
        torch.manual_seed(0)
        head = heads.CenterNetHead(8, 8, 2, test_cfg=Config(dict(topk=4, local_maximum_kernel=3, max_per_img=4)))
        model = of_head(head, [torch.randn(1, 8, 8, 8)])
        labeller = DetectionLabeller(model)
        samples = labeller.new_samples(1, (32, 32))
        (whole,) = labeller.predict(model, torch.zeros(1, 3, 32, 32), samples)
        samples[0].set_metainfo(metainfo)
        (found,) = labeller.predict(model, torch.zeros(1, 3, 32, 32), samples)
        assert len(found) and torch.equal(found.bboxes, whole.bboxes)
        assert samples[0].metainfo.get('border') == metainfo.get('border')
