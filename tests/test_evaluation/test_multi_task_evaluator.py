"""One table of all tasks, and the gain over models of one task."""

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import EVALUATOR

from diff2in1_mm.evaluation.multi_task_evaluator import metrics_of, multi_task_gain
from diff2in1_mm.utils.errors import UserError


class Given(BaseMetric):
    def __init__(self, figures, prefix):
        super().__init__(prefix=prefix)
        self.figures = figures

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return self.figures


def test_the_gain_is_the_papers():
    figures = {'segmentation/mIoU': 44.0, 'depth/rmse': 0.5, 'normals/mean': 22.0}
    alone = {'segmentation/mIoU': 40.0, 'depth/rmse': 0.625, 'normals/mean': 20.0}
    assert multi_task_gain(figures, alone) == pytest.approx((10 + 20 - 10) / 3)
    assert multi_task_gain({'x/acc': 2.0}, {'x/acc': 1.0}, {'x/acc': False}) == pytest.approx(100)
    with pytest.raises(ValueError, match='lower_is_better'):
        multi_task_gain({'x/acc': 2.0}, {'x/acc': 1.0})
    with pytest.raises(ValueError, match="'depth/rmes', which no metric gives"):
        multi_task_gain(figures, {'depth/rmes': 1.0})


def test_a_run_has_one_table(monkeypatch):
    said = []
    monkeypatch.setattr('diff2in1_mm.evaluation.multi_task_evaluator.print_log', lambda text, *_: said.append(text))
    metrics = [Given(dict(abs_rel=0.1, rmse=0.5), 'depth'), Given(dict(odsF=60.0), 'boundaries')]
    evaluator = EVALUATOR.build(dict(type='MultiTaskEvaluator', metrics=metrics, alone={'depth/rmse': 1.0}))
    evaluator.process([None], {})
    figures = evaluator.evaluate(1)
    assert figures['delta_m'] == pytest.approx(50) and figures['boundaries/odsF'] == 60
    lines = said[-1].splitlines()
    assert lines[1].split() == 'depth rmse 0.5 (alone 1), abs_rel 0.1'.split()
    assert lines[2].split() == ['boundaries', 'odsF', '60'] and 'delta_m 50' in lines[3]


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(alone={'deph/rmse': 0.6}), "names 'deph/rmse', which begins with the prefix of no metric; .*'depth/'"),
        (dict(alone={'mIoU': 40.0}), "'mIoU', which begins with the prefix of no metric: it knows depth/, parts/"),
        (dict(alone={'depth/rmes': 0.6}), "whether less of 'depth/rmes' is better; did you mean 'rmse'"),
        (dict(alone={'depth/rmse': '0.6'}), "has '0.6' for 'depth/rmse': give the number"),
        (dict(alone=['depth/rmse']), '`alone` of MultiTaskEvaluator must be a dict of figures'),
        (dict(alone={'depth/d1': 0.9}, lower_is_better={'depth/d1': 'no'}), "'no' for 'depth/d1': give True or False"),
    ],
)
def test_bad_options_are_named_before_anything_is_evaluated(options, words):
    metrics = [Given({}, 'depth'), Given({}, 'parts')]
    with pytest.raises(UserError, match=words):
        EVALUATOR.build(dict(type='MultiTaskEvaluator', metrics=metrics, **options))


def test_a_metric_without_prefix_may_give_any_figure():
    metrics = [Given({'rmse': 0.5}, None), Given({}, 'parts')]
    evaluator = EVALUATOR.build(dict(type='MultiTaskEvaluator', metrics=metrics, alone={'rmse': 1.0}))
    evaluator.process([None], {})
    assert evaluator.evaluate(1)['delta_m'] == pytest.approx(50)


def test_metrics_of_any_config():
    one, two = dict(type='A'), dict(type='B')
    assert metrics_of(one) == [one] and metrics_of([one, two]) == [one, two]
    assert metrics_of(dict(type='MultiTaskEvaluator', metrics=[one, two])) == [one, two]
