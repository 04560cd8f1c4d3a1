"""Label maps that theta_C makes with MMSegmentation's segmentors."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from diff2in1_mm.tasks import labeller_for
from diff2in1_mm.tasks.segmentation import SegmentationLabeller, SegmentationPrediction

from ..tiny_runs import config


def segmentor(**head):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = config('images', 'work').model
    cfg.decode_head.update(head)
    return MODELS.build(cfg).eval()


def sample(padding=(0, 0, 0, 0), **metainfo):
    result = SegDataSample(metainfo=dict(padding_size=padding, **metainfo))
    result.gt_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.long))
    return result


def prediction(labels, confidence):
    return SegmentationPrediction(torch.full((8, 8), labels), torch.full((8, 8), confidence))


class TestSegmentation:
    def test_predicts_the_whole_batch_image_and_leaves_the_samples(self):
        model = segmentor()
        samples = [sample(img_shape=(5, 6), ori_shape=(50, 60), flip=True, flip_direction='horizontal')]
        samples[0].set_metainfo(dict(pad_shape=(8, 8)))
        before = dict(samples[0].metainfo)
        model.test_cfg.mode = 'slide'  # windows would need features of their own
        images = torch.rand(1, 3, 32, 40)
        (predicted,) = labeller_for(model).predict(model, images, samples)
        assert predicted.labels.shape == predicted.confidence.shape == (32, 40)
        logits = model.encode_decode(images, [dict(img_shape=(32, 40))])
        probabilities = logits.softmax(1)[0]
        assert torch.equal(predicted.labels, probabilities.argmax(0))
        torch.testing.assert_close(predicted.confidence, probabilities.amax(0))
        assert samples[0].metainfo == before and 'pred_sem_seg' not in samples[0]

    def test_unsure_pixels_and_padding_are_ignored(self):
        labeller = SegmentationLabeller(segmentor(), confidence=0.5)
        samples = [sample(padding=(0, 2, 0, 4)), sample()]
        sure, unsure = prediction(2, 0.9), prediction(1, 0.4)
        unsure.confidence[:2] = 0.6
        figures = labeller.assign(samples, [sure, unsure])
        target = samples[0].gt_sem_seg.data[0]
        assert (target[:4, :6] == 2).all() and (target[4:] == 255).all()
        assert (target[:, 6:] == 255).all()
        assert (samples[1].gt_sem_seg.data[0, :2] == 1).all()
        assert figures['ignored'] == pytest.approx(48 / (24 + 64))
        assert SegmentationLabeller(segmentor()).assign(samples, [sure, unsure])['ignored'] == 0

    def test_a_pixel_exactly_at_the_threshold_is_sure(self):
        labeller, found, target = SegmentationLabeller(segmentor(), confidence=0.5), prediction(1, 0.5), sample()
        found.confidence[0] = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0))
        assert labeller.assign([target], [found])['ignored'] == pytest.approx(1 / 8)
        (label,) = labeller.labels([found], (8, 8), [{}])
        for labels in (target.gt_sem_seg.data[0].numpy(), label.annotation):
            assert (labels[0] == 255).all() and (labels[1:] == 1).all()

    def test_binary_head(self):
        model = segmentor(
            num_classes=2, out_channels=1, threshold=0.3, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)
        )
        images = torch.randn(1, 3, 32, 32) * 4
        (predicted,) = labeller_for(model).predict(model, images, [sample()])
        probability = model.encode_decode(images, [dict(img_shape=(32, 32))])[0, 0].sigmoid()
        assert torch.equal(predicted.labels, (probability > 0.3).long())
        assert (predicted.confidence >= 0.3).all()
        targets = torch.tensor([0, 1, 255]).repeat(11)[:32].expand(1, 32, 32)
        losses = labeller_for(model).losses(model, images, targets)[0]
        expected = -torch.where(targets[0] == 1, probability, 1 - probability).log()
        torch.testing.assert_close(losses, torch.where(targets[0] == 255, 0, expected), rtol=1e-4, atol=1e-5)

    def test_ignore_index_of_the_head(self):
        labeller = SegmentationLabeller(segmentor(ignore_index=7), confidence=0.5)
        target = sample()
        labeller.assign([target], [prediction(1, 0.1)])
        assert (target.gt_sem_seg.data == 7).all()
        # what the data set's loader gives back as 7; only where nothing does, 255
        for reduce_zero_label, label_map, value in ((False, None, 7), (True, None, 8), (False, {7: 0}, 255)):
            raw = labeller.to_raw(
                target.gt_sem_seg.data[0], dict(reduce_zero_label=reduce_zero_label, label_map=label_map)
            )
            assert (raw == value).all() and raw.dtype == np.uint8

    def test_file_values_round_trip(self):
        labeller = SegmentationLabeller(segmentor())
        labels = torch.tensor([[0, 1, 255]])
        info = dict(reduce_zero_label=True, label_map=None)
        assert labeller.to_raw(labels, info).tolist() == [[1, 2, 255]]

    def test_agreement(self):
        a, b = prediction(1, 0.5), prediction(1, 0.9)
        b.labels[:2] = 0
        assert SegmentationLabeller.agreement([a, a], [a, b]) == pytest.approx(0.875)

    def test_mask_scores_are_no_logits(self):
        pytest.importorskip('mmdet')
        from mmseg.models.decode_heads import Mask2FormerHead

        from diff2in1_mm.tasks.class_maps import decide, log_probabilities

        scores = torch.tensor([0.9, 0.1, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
        head = Mask2FormerHead.__new__(Mask2FormerHead)
        torch.testing.assert_close(log_probabilities(2 * scores, head)[0, :2, 0, 0].exp(), torch.tensor([0.9, 0.1]))
        labels, confidence = decide(scores, head)
        assert (labels == 0).all() and torch.allclose(confidence, torch.tensor(0.9))
