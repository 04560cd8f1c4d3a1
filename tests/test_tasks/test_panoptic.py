"""Panoptic maps that theta_C makes with mask transformers and PanopticFPN."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

from diff2in1_mm.switch_in.maps import given_maps
from diff2in1_mm.switch_in.trial import put_maps
from diff2in1_mm.tasks import labeller_for
from diff2in1_mm.tasks.panoptic import PanopticLabeller, PanopticPrediction

from ..detectors import stock_model
from ..versions import needs_detectors


class TestPanoptic:
    def labeller(self, **options):
        model = nn.Module()
        model.panoptic_fusion_head = SimpleNamespace(test_cfg={}, num_things_classes=2, num_classes=4)
        return PanopticLabeller(model, **options)

    def test_segments_become_things_and_stuff(self):
        from mmdet.structures import DetDataSample

        labeller = self.labeller()
        values = torch.tensor([[1001, 1001, 3], [2001, 4, 3]])  # two things, void, stuff
        found = labeller._segments(values)
        assert found.labels.tolist() == [3, 1, 1]
        assert (found.ids == 0).tolist() == [[False] * 3, [False, True, False]]
        target = DetDataSample(metainfo=dict(batch_input_shape=(4, 4)))
        figures = labeller.assign([target], [found])
        assert figures['ignored'] == pytest.approx(1 / 6)
        assert target.gt_instances.bboxes.tolist() == [[0, 0, 2, 1], [0, 1, 1, 2]]
        semantic = target.gt_sem_seg.sem_seg[0]
        assert semantic[:2, :3].tolist() == [[1, 1, 3], [1, 255, 3]]
        assert (semantic[2:] == 255).all() and (semantic[:, 3] == 255).all()
        assert labeller.agreement([found], [found]) == 1
        (label,) = labeller.labels([found], (2, 3), [{}])
        assert label.quality['instances'] == 2 and label.annotation.num_things == 2

    def test_nothing_sure(self):
        from mmdet.structures import DetDataSample

        labeller = self.labeller(confidence=0.5)
        found = labeller._segments(torch.full((2, 2), 4))
        target = DetDataSample()
        assert labeller.assign([target], [found])['ignored'] == 1
        assert 'gt_sem_seg' not in target
        assert labeller.labels([found], (2, 2), [{}]) == [None]


@pytest.mark.parametrize('void', [True, False])
def test_panoptic_segments_too_small_for_another_size_go(void):
    ids = torch.full((8, 8), 0 if void else 4)
    ids[:4, :4], ids[0, 7], ids[4:] = 1, 2, 3
    prediction = PanopticPrediction(ids, torch.tensor([5, 6, 7, 8][: 3 if void else 4]))
    (found,) = PanopticLabeller.resized(None, [prediction], (8, 8), (2, 2))
    assert found.labels.tolist() == ([5, 7] if void else [5, 7, 8])
    assert found.ids.tolist() == [[1, 0 if void else 3], [2, 2]]


@needs_detectors
class TestPanopticFPN:
    """Small, with drawn weights, of which things score about one in the number of classes."""

    @pytest.fixture
    def model(self):
        pytest.importorskip('mmdet')
        config = ConfigDict(stock_model('fpn_panoptic'))
        config.backbone = dict(type=nn.Identity)
        config.test_cfg.rcnn.score_thr = 0.6
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(config).eval()
        put_maps(model, given_maps(config.neck.in_channels, [4, 8, 16, 32]))
        return model

    def test_its_own_threshold_of_things_is_the_default(self, model):
        labeller = labeller_for(model)
        assert labeller.task == 'panoptic' and labeller.confidence == 0.6
        assert (labeller.things, labeller.classes) == (2, 4)

    def test_things_by_their_score_and_stuff(self, model):
        images = torch.randn(1, 3, 64, 64)
        few, many = (labeller_for(model, confidence) for confidence in (1.0, 0.0))
        for labeller, finds_things in ((few, False), (many, True)):
            samples = labeller.new_samples(1, (48, 56))  # the batch is padded to 64 x 64
            (found,) = labeller.predict(model, images, samples)
            assert found.ids.shape == (48, 56)
            assert (found.labels < 2).any() == finds_things
            assert model.roi_head.test_cfg.score_thr == 0.6  # it came back
        assert (few.predict(model, images, few.new_samples(1, (48, 56)))[0].labels >= 2).any()
