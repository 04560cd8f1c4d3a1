"""maxF of saliency, and IoU of maps that some samples lack."""

import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

pytest.importorskip('mmseg')


def evaluate(samples, **metric):
    built = METRICS.build(metric)
    built.dataset_meta = dict(classes=('a', 'b', 'c'))
    for sample in samples:
        built.process({}, [{name: dict(data=torch.as_tensor(value)[None]) for name, value in sample.items()}])
    return built.evaluate(len(samples))


def test_max_f_is_that_of_the_best_threshold():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((6, 7)).astype(np.float32), rng.integers(0, 2, (6, 7))) for _ in range(3)]
    pairs[0][1][:2] = 255
    found = evaluate(
        [dict(pred_saliency_map=p, gt_saliency_map=t) for p, t in pairs] + [dict(pred_saliency_map=pairs[0][0])],
        type='SaliencyF',
    )['maxF']
    values = np.concatenate([p[t != 255] for p, t in pairs])
    truth = np.concatenate([t[t != 255] for _, t in pairs]) == 1
    best = 0.0
    for threshold in np.arange(1, 20) / 20:
        chosen = values >= threshold
        precision, recall = truth[chosen].mean(), chosen[truth].mean()
        best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    assert found == pytest.approx(100 * best, abs=1e-4)
    empty = dict(pred_saliency_map=pairs[0][0], gt_saliency_map=0 * pairs[0][1])
    assert math.isnan(evaluate([empty], type='SaliencyF')['maxF'])
    with pytest.raises(ValueError, match='size of the original image'):
        evaluate([dict(empty, gt_saliency_map=np.zeros((3, 3)))], type='SaliencyF')


def test_iou_of_parts_and_of_label_maps_that_are_missing():
    truth = np.array([[0, 0, 1, 1], [0, 1, 1, 255]])
    pred = np.array([[0, 0, 0, 1], [0, 1, 1, 1]])
    expected = 100 * (3 / 4 + 3 / 4) / 2
    parts = [dict(pred_part_map=pred, gt_part_map=truth), dict(pred_part_map=pred)]
    found = evaluate(parts, type='MapIoU', classes=('none', 'head'), iou_metrics=['mIoU'])
    assert found['mIoU'] == pytest.approx(expected, abs=0.01)
    own = [dict(pred_sem_seg=pred, gt_sem_seg=truth), dict(pred_sem_seg=pred)]
    found = evaluate(own, type='MapIoU', field='sem_seg', iou_metrics=['mIoU'])
    assert found['mIoU'] == pytest.approx(expected, abs=0.01)  # class c is nowhere
    with pytest.raises(ValueError, match='give `classes`'):
        evaluate([], type='MapIoU')


def test_parts_are_written_as_they_are(tmp_path):
    """Also where the data set's label maps count from 1."""
    pred = np.array([[0, 1, 2], [2, 1, 0]])
    sample = dict(pred_part_map=dict(data=torch.tensor(pred)[None]), reduce_zero_label=True, img_path='a.png')
    options = dict(classes=('none', 'head', 'arm'), output_dir=str(tmp_path), format_only=True)
    METRICS.build(dict(type='MapIoU', **options)).process({}, [sample])
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED), pred)
