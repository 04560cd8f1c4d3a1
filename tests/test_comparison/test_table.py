"""The paired table and its sentences, against scipy and by hand."""

import json
import re

import pytest
from hypothesis import given, strategies as st
from scipy.stats import ttest_1samp

from diff2in1_mm.comparison.arms import arms_of
from diff2in1_mm.comparison.metrics import Metric, read_metric
from diff2in1_mm.comparison.plot import plot
from diff2in1_mm.comparison.runs import ArmRuns
from diff2in1_mm.comparison.table import best_control, paired, table, verdict

SEEDS = (0, 1, 2)
MIOU, RMSE = read_metric('mIoU'), read_metric('rmse')


@pytest.fixture
def runs(tmp_path):
    """Makes finished runs: arm -> a figure for each seed, and seconds of its parts."""

    def made(figures, metric='mIoU', seconds=None):
        found = ArmRuns(str(tmp_path), arms_of(), None, 1)
        for name, scores in figures.items():
            for seed, score in enumerate(scores):
                folder = tmp_path / f'{name.replace(" ", "_")}-{seed}'
                folder.mkdir(parents=True)
                parts = dict(warm_up=4.0, self_improving=(seconds or {}).get(name, 4.0), validation=50.0)
                content = dict(stages=dict(warm_up={metric: 0}, self_improving={metric: score}), seconds=parts)
                (folder / 'summary.json').write_text(json.dumps(content))
        return found

    return made


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0, 99)), min_size=2, max_size=6))
def test_paired_is_a_t_test_of_the_differences(pairs):
    ours, base = ({seed: pair[k] for seed, pair in enumerate(pairs)} for k in (0, 1))
    mean, spread, p = paired(ours, dict(base, other=1.0))
    differences = [a - b for a, b in pairs]
    assert mean == pytest.approx(sum(differences) / len(differences), abs=1e-9)
    if spread > 1e-6:
        assert p == pytest.approx(ttest_1samp(differences, 0).pvalue, rel=1e-6)


def test_one_common_seed_has_no_deviation_and_none_no_difference():
    assert paired({3: 2.5, 4: 9.0}, {3: 2.0}) == (0.5, None, None)
    assert paired({4: 9.0}, {3: 2.0}) == (None, None, None)


@pytest.mark.parametrize(
    'method, sentence',
    [
        ([33.0, 34.1, 32.0], '"method": a gain: +2.03 ± 0.06 mIoU against "regularised"'),
        ([28.9, 30.1, 28.0], '"method": a loss: -2.00 ± 0.10 mIoU against "regularised"'),
        ([31.5, 31.5, 29.9], '"method": no gain shown: -0.03 ± 0.50 mIoU against "regularised"'),
    ],
)
def test_the_sentence_says_what_the_seeds_show(runs, method, sentence):
    found = runs({'real': [30, 31, 29], 'regularised': [31, 32, 30], 'method': method})
    base = best_control(found, list(found.arms), SEEDS, MIOU)
    assert base == 'regularised'
    assert verdict(found, 'method', base, SEEDS, MIOU).startswith(sentence)


def test_less_of_an_error_is_better(runs):
    found = runs({'real': [0.62, 0.61, 0.63], 'regularised': [0.7, 0.71, 0.69], 'method': [0.52, 0.5, 0.53]}, 'rmse')
    base = best_control(found, list(found.arms), SEEDS, RMSE)
    assert base == 'real'
    assert '"method": a gain: -10.33' in (said := verdict(found, 'method', base, SEEDS, RMSE)) and '100 x rmse' in said


def test_one_seed_is_told_to_tell_nothing(runs):
    found = runs({'real': [30], 'method': [33]})
    assert 'one seed cannot tell a gain from chance' in verdict(found, 'method', 'real', SEEDS, MIOU)


def test_a_control_that_lacks_seeds_is_not_the_best(runs):
    found = runs({'real': [30, 31, 29], 'regularised': [90], 'method': [30, 30, 30]})
    assert best_control(found, list(found.arms), SEEDS, MIOU) == 'real'


def test_the_table_has_a_row_for_every_finished_arm_with_its_cost(runs):
    found = runs({'real': [30, 31], 'method': [31, 30]}, seconds=dict(method=12.0))
    lines = table(found, list(found.arms), SEEDS, MIOU, 'real').splitlines()
    assert len(lines) == 4 and len({line.count('|') for line in lines}) == 1
    assert re.search(r'real: .*\| 30.00 \| 31.00 \| - \| 30.50 \| 0.71 \| - \| - \| 1.00 x \|', lines[2])
    assert re.search(r'method: .*\| \+0.00 ± 1.41 \| 1.000 \| 2.00 x \|', lines[3])  # 16 s over 8


def test_the_picture_shows_a_dot_for_every_seed(runs, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, 'scatter', lambda self, x, y, **kwargs: drawn.append((list(x), list(y))))
    found = runs({'real': [30, 31], 'regularised': [29, 29.5], 'method': [31, 33]})
    plot(found, ['real', 'regularised', 'method'], 'real', SEEDS, MIOU, str(tmp_path / 'p.png'))
    assert drawn == [([1, 2], [0, 0]), ([-1, -1.5], [1, 1])]
    assert (tmp_path / 'p.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    'metric, said',
    [
        (MIOU, 'mIoU minus that of "real", in percentage points\n(better to the right'),
        (RMSE, '100 x rmse minus that of "real", in cm\n(better to the left'),
        (Metric('own'), 'own minus that of "real"\n(better to the right'),
    ],
)
def test_the_axes_of_the_picture_say_what_and_in_which_unit(runs, tmp_path, monkeypatch, metric, said):
    from matplotlib.axes import Axes

    words = {}
    monkeypatch.setattr(Axes, 'set_xlabel', lambda self, text: words.update(x=text))
    monkeypatch.setattr(Axes, 'set_ylabel', lambda self, text: words.update(y=text))
    found = runs({'real': [30, 31], 'method': [31, 33]}, metric.name)
    plot(found, ['real', 'method'], 'real', SEEDS, metric, str(tmp_path / 'p.png'))
    assert words['x'].startswith(said) and words['y'] == 'arm'
