"""Errors of normals against plain formulas."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.evaluation.normal_metric import angular_error
from diff2in1_mm.tasks.normals import NormalsTask


def unit(generator, *shape):
    vectors = torch.randn(3, *shape, generator=generator)
    return vectors / vectors.norm(dim=0)


def sample(seed, size=(20, 30), spread=0.3):
    """A true map with some invalid pixels, and a noisy prediction of any length."""
    generator = torch.Generator().manual_seed(seed)
    target = unit(generator, *size)
    pred = 2 * (target + spread * torch.randn(3, *size, generator=generator))
    target[:, torch.rand(size, generator=generator) < 0.2] = 0
    return dict(pred_normal_map=dict(data=pred), gt_normal_map=dict(data=target))


def plain(samples):
    """All errors in degrees, by the textbook's arc cosine."""
    errors = []
    for s in samples:
        a, b = s['pred_normal_map']['data'].double(), s['gt_normal_map']['data'].double()
        valid = b.norm(dim=0) > 0
        cosine = (a * b).sum(0)[valid] / (a.norm(dim=0) * b.norm(dim=0))[valid]
        errors.append(np.degrees(np.arccos(cosine.clamp(-1, 1).numpy())))
    return np.concatenate(errors)


def test_figures_equal_the_formulas():
    samples = [sample(seed) for seed in range(5)]
    metric = METRICS.build(dict(type='NormalMetric'))
    metric.process({}, samples[:2])
    metric.process({}, samples[2:])
    found, errors = metric.evaluate(5), plain(samples)
    assert found['mean'] == pytest.approx(errors.mean(), abs=1e-6)
    assert found['median'] == pytest.approx(np.median(errors), abs=0.01)
    assert found['rmse'] == pytest.approx(np.sqrt((errors**2).mean()), abs=1e-6)
    for limit in (5, 7.5, 11.25, 22.5, 30):
        assert found[f'a{limit:g}'] == pytest.approx(100 * (errors < limit).mean(), abs=1e-6)


def test_files_hold_directions(tmp_path):
    """Of predictions of any length, with or without a fourth channel."""
    found = sample(0, spread=0.0)
    for name, extra in (('long', 0), ('kappa', 1)):
        data = found['pred_normal_map']['data']
        data = torch.cat([data, torch.ones(extra, *data.shape[1:])])
        metric = METRICS.build(dict(type='NormalMetric', output_dir=str(tmp_path)))
        metric.process({}, [dict(found, pred_normal_map=dict(data=data), img_path=f'{name}.jpg')])
        metric.evaluate(1)
        direction = data[:3].permute(1, 2, 0).numpy() / 2
        stored = NormalsTask().decode(tmp_path / f'{name}.png')
        np.testing.assert_allclose(stored, direction, atol=1e-3)


def test_the_median_is_of_pixels_and_not_of_images():
    """A large good image outweighs two small bad ones."""
    samples = [sample(0, (60, 60), 0.01), sample(1, (5, 5), 1.0), sample(2, (5, 5), 1.0)]
    metric = METRICS.build(dict(type='NormalMetric'))
    metric.process({}, samples)
    assert metric.evaluate(3)['median'] == pytest.approx(np.median(plain(samples)), abs=0.01)


def test_small_angles_are_exact():
    angle = 1e-4  # degrees; the arc cosine of a float32 cosine would give 0 or 0.02
    target = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
    pred = torch.tensor([np.sin(np.radians(angle)), 0.0, 1.0]).view(3, 1, 1)
    assert angular_error(pred, target).item() == pytest.approx(angle, rel=1e-3)
    assert angular_error(-target, target).item() == pytest.approx(180)


def test_no_valid_pixel_and_wrong_size():
    metric = METRICS.build(dict(type='NormalMetric'))
    empty = sample(0)
    empty['gt_normal_map']['data'].zero_()
    metric.process({}, [empty])
    assert np.isnan(metric.evaluate(1)['mean'])
    with pytest.raises(ValueError, match='at the size of the original image'):
        angular_error(torch.ones(3, 4, 4), torch.ones(3, 5, 4))


def test_no_prediction_is_wrong():
    target = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 2, 2)
    pred = target.clone()
    pred[:, 0] = 0
    found = angular_error(pred, target)
    torch.testing.assert_close(found, torch.tensor([90.0, 90.0, 0.0, 0.0], dtype=torch.float64))
