"""Errors of depth against plain formulas and against MMSegmentation's, with crops."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.evaluation.depth_metric import depth_errors


def sample(seed, size=(48, 64), top=9.0):
    """True depth with holes and pixels beyond 10 metres, and a noisy prediction."""
    generator = torch.Generator().manual_seed(seed)
    target = 0.5 + top * torch.rand(1, *size, generator=generator)
    pred = target * (1 + 0.3 * torch.randn(1, *size, generator=generator)).clamp(0.2, 3)
    target[torch.rand(1, *size, generator=generator) < 0.2] = 0
    target[0, :2] = 30
    return dict(pred_depth_map=dict(data=pred), gt_depth_map=dict(data=target))


def plain(pred, target, limits=(1e-3, 10.0)):
    """The textbook's formulas, one pixel after another."""
    pairs = [
        (min(max(p, limits[0]), limits[1]), t)
        for p, t in zip(pred.flatten(), target.flatten())
        if limits[0] < t < limits[1]
    ]
    n = len(pairs)
    logs = [math.log(p) - math.log(t) for p, t in pairs]
    found = dict(
        abs_rel=sum(abs(p - t) / t for p, t in pairs) / n,
        sq_rel=sum((p - t) ** 2 / t for p, t in pairs) / n,
        rmse=math.sqrt(sum((p - t) ** 2 for p, t in pairs) / n),
        rmse_log=math.sqrt(sum(x**2 for x in logs) / n),
        log10=sum(abs(math.log10(p) - math.log10(t)) for p, t in pairs) / n,
        silog=100 * math.sqrt(sum(x**2 for x in logs) / n - (sum(logs) / n) ** 2),
    )
    for k in (1, 2, 3):
        found[f'd{k}'] = sum(max(p / t, t / p) < 1.25**k for p, t in pairs) / n
    return found


def arrays(item, rows=slice(None), columns=slice(None)):
    return [item[name]['data'][0, rows, columns].double().numpy() for name in ('pred_depth_map', 'gt_depth_map')]


def test_figures_are_means_over_the_images():
    items = [sample(seed) for seed in range(3)]
    metric = METRICS.build(dict(type='DepthErrors'))
    metric.process({}, items[:1])
    metric.process({}, items[1:])
    found, wanted = metric.evaluate(3), [plain(*arrays(item)) for item in items]
    assert set(found) == set(wanted[0])
    for name, value in found.items():
        assert value == pytest.approx(np.mean([w[name] for w in wanted]), rel=1e-9)


@pytest.mark.parametrize(
    'crop, rows, columns',
    [
        ('nyu_eigen', slice(45, 471), slice(41, 601)),
        ('bts', slice(45, 471), slice(41, 601)),
        (None, slice(None), slice(None)),
    ],
)
def test_crops_of_nyu(crop, rows, columns):
    item = sample(0, (480, 640))
    wanted = plain(*arrays(item, rows, columns))
    found = depth_errors(item['pred_depth_map']['data'], item['gt_depth_map']['data'], crop=crop)
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    'crop, rows, columns',
    [('kitti_garg', slice(153, 371), slice(44, 1197)), ('kitti_eigen', slice(124, 342), slice(44, 1197))],
)
def test_crops_of_kitti(crop, rows, columns):
    """Rows and columns of a 375 x 1242 image, as the evaluation codes cut them."""
    target = torch.zeros(1, 375, 1242)
    target[0, rows, columns] = 20
    pred = target + 5
    inside = depth_errors(pred, target, (1e-3, 80.0), crop)
    assert inside['rmse'] == pytest.approx(5)
    pred[target == 0] = 70
    target[target == 0] = 40  # outside
    assert depth_errors(pred, target, (1e-3, 80.0), crop)['rmse'] == pytest.approx(5)
    target[0, rows, columns] = 0
    assert depth_errors(pred, target, (1e-3, 80.0), crop) is None


def test_equal_to_mmsegmentations_where_that_holds():
    """Its silog weighs the squared mean by one half, and it does not cut predictions."""
    depth = pytest.importorskip('mmseg.evaluation.metrics.depth_metric')
    items = [sample(seed, (480, 640)) for seed in range(2)]
    for item in items:
        item['pred_depth_map']['data'].clamp_(1e-3, 10)
    theirs = depth.DepthMetric(crop_type='nyu_crop')
    ours = METRICS.build(dict(type='DepthErrors', crop='nyu_eigen'))
    for metric in (theirs, ours):
        metric.process({}, items)
    theirs, ours = theirs.evaluate(2), ours.evaluate(2)
    for name in set(ours) - {'silog'}:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name


def test_zero_and_far_depth_do_not_count_and_predictions_are_cut():
    target = torch.tensor([[[0.0, 2.0, 12.0, 10.0]]])
    pred = torch.tensor([[[5.0, 4.0, 1.0, 1.0]]])
    assert depth_errors(pred, target)['rmse'] == pytest.approx(2)
    assert depth_errors(pred * 100, target)['rmse'] == pytest.approx(8)
    assert depth_errors(pred * 0, target)['abs_rel'] == pytest.approx(1, rel=1e-3)


def test_images_without_depth_are_left_out():
    empty = sample(1)
    empty['gt_depth_map']['data'].zero_()
    metric = METRICS.build(dict(type='DepthErrors'))
    metric.process({}, [empty])
    assert metric.results == [{}]  # MMEngine counts entries
    assert math.isnan(metric.evaluate(1)['rmse'])
    metric.process({}, [empty, sample(0)])
    assert metric.evaluate(2)['rmse'] == pytest.approx(plain(*arrays(sample(0)))['rmse'])


def test_bad_input():
    with pytest.raises(ValueError, match="crop of DepthErrors must be one of .*not 'eigen'"):
        METRICS.build(dict(type='DepthErrors', crop='eigen'))
    with pytest.raises(ValueError, match='at the size of the original image'):
        depth_errors(torch.ones(1, 4, 4), torch.ones(1, 4, 5))
