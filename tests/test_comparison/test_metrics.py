"""Which way round figures are read, and which of them decides."""

import pytest

from diff2in1_mm.comparison.metrics import Metric, deciding, read_metric

NORMALS = ['mean', 'median', 'rmse', 'a5', 'a11.25']


@pytest.mark.parametrize('name', ['abs_rel', 'silog', 'depth/rmse', 'depth/log10', 'normals/mean', 'normals/median'])
def test_errors_are_better_small_by_any_prefix(name):
    assert not read_metric(name).more_is_better


@pytest.mark.parametrize('name', ['segmentation/mIoU', 'coco/bbox_mAP_s', 'a11.25', 'd1', 'edges/odsF', 'PQ'])
def test_shares_are_better_large(name):
    assert read_metric(name).more_is_better and read_metric(name).unit == 'percentage points'


def test_normals_are_told_in_degrees_and_depth_in_centimetres():
    assert deciding(NORMALS) == 'mean'
    assert read_metric('rmse', NORMALS) == Metric('rmse', False, 1, 'degrees')
    both = [*(f'normals/{name}' for name in NORMALS), 'depth/abs_rel', 'depth/rmse']
    assert read_metric('normals/rmse', both).unit == 'degrees' and read_metric('depth/rmse', both).unit == 'cm'
    assert read_metric('depth/rmse', both).told == '100 x depth/rmse'


def test_the_figure_of_papers_decides():
    assert deciding(['aAcc', 'mIoU', 'mAcc']) == 'mIoU'
    assert deciding(['coco/bbox_mAP_50', 'coco/bbox_mAP']) == 'coco/bbox_mAP'
    assert deciding(['depth/rmse', 'segmentation/mIoU', 'delta_m']) == 'delta_m'
    with pytest.raises(ValueError, match='name one of own, other with --metric'):
        deciding(['own', 'other'])


def test_nobody_guesses_what_is_better():
    with pytest.raises(ValueError, match="more or less of 'my/figure' is better is not known: say it with --rule"):
        read_metric('my/figure')
    assert not read_metric('my/figure', more_is_better=False).more_is_better
    assert read_metric('rmse', more_is_better=True).more_is_better  # the user's word counts
