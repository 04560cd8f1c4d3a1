"""Boundary F: thinning, one-to-one matching within a distance, optima of set and image."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from diff2in1_mm.evaluation.boundary_metric import boundary_counts, thin
from diff2in1_mm.utils.errors import UserError


def evaluate(pairs, **options):
    metric = METRICS.build(dict(type='BoundaryF', **options))
    for pred, truth in pairs:
        sample = dict(pred_boundary_map=dict(data=torch.as_tensor(pred).float()[None]), img_path='a.png')
        if truth is not None:
            sample['gt_boundary_map'] = dict(data=torch.as_tensor(truth)[None])
        metric.process({}, [sample])
    return metric.evaluate(len(pairs))


def line(row, size=40, width=1):
    found = np.zeros((size, size), np.int64)
    found[row : row + width, 5:35] = 1
    return found


def test_thick_lines_become_thin():
    thinned = thin(line(10, width=5) > 0)
    assert (thinned.sum(0) <= 1).all() and thinned[12, 8:32].all()
    assert (thin(thinned) == thinned).all()
    single = line(3) > 0
    assert (thin(single) == single).all()


@pytest.mark.parametrize('apart, matched', [(0, 30), (2, 30), (3, 0)])
def test_matches_are_within_the_distance(apart, matched):
    counts = boundary_counts(line(10 + apart) * 0.9, line(10), [0.5, 0.95], max_distance=2.2 / (40 * math.sqrt(2)))
    assert counts.tolist() == [[matched, 30, matched, 30], [0, 0, 0, 30]]


def test_a_true_pixel_is_matched_once():
    truth = line(10)
    pred = np.maximum(line(9), line(11))  # two lines beside one
    (counts,) = boundary_counts(pred, truth, [0.5], max_distance=2 / 40)
    assert counts.tolist() == [30, 60, 30, 30]
    assert evaluate([(pred, truth)], max_distance=2 / 40)['odsF'] == pytest.approx(100 * 2 / 3)


def test_optima_of_set_and_image():
    # one image wants a high threshold, the other a low one
    noisy = np.maximum(0.9 * line(10), 0.5 * line(30))
    faint = 0.3 * line(20)
    found = evaluate([(noisy, line(10)), (faint, line(20))], thresholds=9)
    assert found['oisF'] == pytest.approx(100)
    # at 0.3 and below all three lines, above only that of the first image
    assert found['odsF'] == pytest.approx(100 * max(2 * (2 / 3) / (2 / 3 + 1), 2 * 0.5 / 1.5))
    assert found['threshold'] == pytest.approx(0.1)


def test_what_does_not_count():
    truth = line(10)
    truth[25:] = 255
    assert evaluate([(np.maximum(line(10), line(30)), truth), (line(5), None)])['odsF'] == pytest.approx(100)
    assert math.isnan(evaluate([(line(5), None)])['odsF'])
    with pytest.raises(ValueError, match='size of the original image'):
        boundary_counts(line(3), line(3, 41), [0.5], 0.01)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(thresholds=0), 'thresholds of BoundaryF'),
        (dict(max_distance='x'), r"max_distance = 'x' of BoundaryF must be a share of the diagonal .* in \[0, 1\]"),
        (dict(max_distance=-1), 'max_distance = -1 of BoundaryF'),
        (dict(max_distance=3), 'max_distance = 3 of BoundaryF'),  # pixels
    ],
)
def test_bad_options(options, words):
    with pytest.raises(UserError, match=words):
        METRICS.build(dict(type='BoundaryF', **options))


def test_predictions_are_written(tmp_path):
    evaluate([(0.5 * line(3), line(3))], output_dir=str(tmp_path / 'maps'), keep_results=True)
    from diff2in1_mm.tasks.png import decode_png

    assert decode_png((tmp_path / 'maps/a.png').read_bytes()).max() == 128
