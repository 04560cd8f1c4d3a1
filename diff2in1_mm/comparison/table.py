"""What a comparison says: a paired table, and one sentence for each method."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.stats import ttest_rel

from .metrics import Metric
from .runs import ArmRuns

__all__ = ['Difference', 'best_control', 'paired', 'row', 'scores_of', 'table', 'verdict']

SURE = 0.05  # a p below it is taken for a difference


class Difference(NamedTuple):
    """Paired differences over the seeds that both arms have.

    Attributes:
        mean (float | None): None without a common seed.
        deviation (float | None): Sample deviation; None with fewer than two.
        p (float | None): Of a paired, two-sided t test.
    """

    mean: float | None
    deviation: float | None = None
    p: float | None = None


def paired(scores: Mapping[int, float], base: Mapping[int, float]) -> Difference:
    """Of two arms' scores by seed."""
    seeds = [seed for seed in scores if seed in base]
    differences = [scores[seed] - base[seed] for seed in seeds]
    if len(seeds) < 2:
        return Difference(differences[0] if differences else None)
    p = float(ttest_rel([scores[s] for s in seeds], [base[s] for s in seeds]).pvalue)
    return Difference(statistics.mean(differences), statistics.stdev(differences), p)


def scores_of(runs: ArmRuns, name: str, seeds: Sequence[int], metric: Metric) -> dict[int, float]:
    """Seed -> final figure of an arm, in the scale of tables."""
    return {seed: score * metric.scale for seed, score in runs.scores(name, seeds, metric.name).items()}


def row(name: str, scores: Mapping[int, float], seeds: Sequence[int], base: Mapping[int, float]) -> str:
    """A line of a Markdown table: every run, mean, deviation, paired difference to ``base`` and its p."""
    cells = [f'{scores[s]:.2f}' if s in scores else '-' for s in seeds]
    values = list(scores.values())
    deviation = f'{statistics.stdev(values):.2f}' if len(values) > 1 else '-'
    mean, spread, p = paired(scores, base)
    difference = '-' if mean is None else f'{mean:+.2f}'
    if spread is not None:
        difference += f' ± {spread:.2f}'
    figures = [*cells, f'{statistics.mean(values):.2f}', deviation, difference, '-' if p is None else f'{p:.3f}']
    return f'| {name} | ' + ' | '.join(figures) + ' |'


def best_control(runs: ArmRuns, names: Sequence[str], seeds: Sequence[int], metric: Metric) -> str | None:
    """The control with the best mean, of those that have all seeds that any control has."""
    found = {n: scores_of(runs, n, seeds, metric) for n in names if runs.arms[n].control}
    most = max(map(len, found.values()), default=0)
    means = {name: statistics.mean(scores.values()) for name, scores in found.items() if scores and len(scores) == most}
    if not means:
        return None
    return (max if metric.more_is_better else min)(means, key=means.__getitem__)


def table(runs: ArmRuns, names: Sequence[str], seeds: Sequence[int], metric: Metric, base: str) -> str:
    """Markdown: a row for each arm, with its paired difference to ``base`` and its cost in time of that."""
    lines = [
        f'| {metric.told} | '
        + ' | '.join(f'seed {s}' for s in seeds)
        + f' | mean | sd | minus "{base}" | p (paired t) | time |',
        '|---|' + '---|' * (len(seeds) + 5),
    ]
    control = scores_of(runs, base, seeds, metric)
    for name in names:
        scores = scores_of(runs, name, seeds, metric)
        if scores:
            other = {} if name == base else control
            line = row(f'{name}: {runs.arms[name].text}', scores, seeds, other)
            lines.append(f'{line} {_cost(runs, name, base, seeds)} |')
    return '\n'.join(lines)


def _cost(runs: ArmRuns, name: str, base: str, seeds: Sequence[int]) -> str:
    own, other = ([runs.seconds(n, seed) for seed in seeds] for n in (name, base))
    both = [(a, b) for a, b in zip(own, other) if a and b]
    return f'{sum(a for a, _ in both) / sum(b for _, b in both):.2f} x' if both else '-'


def verdict(runs: ArmRuns, name: str, base: str, seeds: Sequence[int], metric: Metric) -> str:
    """One sentence: does ``name`` gain over the control ``base``?"""
    scores, control = scores_of(runs, name, seeds, metric), scores_of(runs, base, seeds, metric)
    mean, spread, p = paired(scores, control)
    if mean is None:
        return f'"{name}" has no seed in common with "{base}": nothing can be said.'
    against = f'{metric.told} against "{base}", the best control'
    if spread is None:
        return f'"{name}": {mean:+.2f} {against}; one seed cannot tell a gain from chance: give more --seeds.'
    better = mean > 0 if metric.more_is_better else mean < 0
    if p is None or not p < SURE:
        what = 'no gain shown'
    else:
        what = 'a gain' if better else 'a loss'
    count = len([seed for seed in scores if seed in control])
    return f'"{name}": {what}: {mean:+.2f} ± {spread:.2f} {against}, over {count} seeds (p = {p:.2f}).'
