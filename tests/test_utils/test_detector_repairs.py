"""Faults of MMDetection that are mended: each test fails without its repair, or shows that it did."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')

from mmdet.models.dense_heads.ssd_head import SSDHead  # noqa: E402
from mmdet.models.roi_heads.mask_heads import fcn_mask_head  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

import diff2in1_mm  # noqa: E402, F401
from diff2in1_mm.utils import detector_repairs  # noqa: E402
from diff2in1_mm.utils.detector_repairs import fit_mixtures_in_double, paste_masks_outside_of_images  # noqa: E402

from ..versions import needs_detectors  # noqa: E402

CLOSE = np.array([11.223169, 11.843928, 11.886804, 12.24357, 12.278382], np.float32)[:, None]


@pytest.mark.parametrize('box', [[-9, 2, -3, 8], [2, -9, 8, -3], [20, 2, 30, 8], [2, 20, 8, 30], [-9, -9, 30, 0]])
def test_masks_of_boxes_outside_of_the_image_are_empty(box):
    masks, boxes = torch.ones(1, 1, 4, 4), torch.tensor([box], dtype=torch.float)
    pasted, place = fcn_mask_head._do_paste_mask(masks, boxes, 10, 12)
    whole = torch.zeros(1, 10, 12)
    whole[(slice(None), *place)] = pasted
    assert not (whole >= 0.5).any()


def test_masks_of_other_boxes_are_pasted_as_before():
    masks, boxes = torch.rand(1, 1, 4, 4), torch.tensor([[-3.0, 2, 5, 30]])
    pasted, place = fcn_mask_head._do_paste_mask(masks, boxes, 10, 12)
    before, same_place = fcn_mask_head._do_paste_mask.__wrapped__(masks, boxes, 10, 12)
    assert place == same_place == (slice(1, 10), slice(0, 6)) and torch.equal(pasted, before)
    with pytest.raises(RuntimeError, match='inconsistent with step sign'):  # what is mended
        fcn_mask_head._do_paste_mask.__wrapped__(masks, boxes + 40, 10, 12)


class Mixture:
    def fit(self, X, y=None):  # noqa: N803
        self.seen = X
        return self


def test_mixtures_are_fitted_in_double():
    head = SimpleNamespace(skm=SimpleNamespace(GaussianMixture=Mixture))
    fit_mixtures_in_double(head)
    assert head.skm.GaussianMixture().fit(CLOSE).seen.dtype == np.float64


def test_close_losses_are_told_apart():
    mixture = pytest.importorskip('sklearn.mixture')
    head = SimpleNamespace(skm=mixture)
    fit_mixtures_in_double(head)
    options = dict(weights_init=[0.5, 0.5], means_init=CLOSE[[0, -1]], precisions_init=np.ones((2, 1)))
    found = head.skm.GaussianMixture(2, covariance_type='diag', **options).fit(CLOSE)
    assert found.predict(CLOSE).tolist() == [0, 1, 1, 1, 1]


def test_versions_without_what_is_mended_stay_as_they_are():
    other = SimpleNamespace(skm=None)
    fit_mixtures_in_double(other)
    paste_masks_outside_of_images(other)
    assert vars(other) == dict(skm=None)


def test_a_second_call_changes_nothing():
    paste = fcn_mask_head._do_paste_mask
    detector_repairs.repair_detectors()
    assert fcn_mask_head._do_paste_mask is paste


@needs_detectors
def test_ssd_predicts():
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = SSDHead(
            num_classes=2,
            in_channels=(4, 4),
            anchor_generator=dict(
                type='SSDAnchorGenerator',
                scale_major=False,
                strides=[8, 16],
                ratios=[[2], [2]],
                min_sizes=[8, 16],
                max_sizes=[16, 32],
            ),
            test_cfg=ConfigDict(nms_pre=9, min_bbox_size=0, score_thr=0.0, max_per_img=5, nms=dict(iou_threshold=0.5)),
        )
    outputs = head((torch.randn(1, 4, 4, 4), torch.randn(1, 4, 2, 2)))
    meta = dict(img_shape=(32, 32), scale_factor=(1.0, 1.0))
    (found,) = head.predict_by_feat(*outputs, batch_img_metas=[meta], rescale=False)
    assert len(found) and (found.labels < 2).all()
