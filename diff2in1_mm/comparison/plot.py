"""A picture of what each arm adds to the best control."""

import io
from collections.abc import Sequence

from ..utils.atomic_files import write_atomic
from .metrics import Metric
from .runs import ArmRuns
from .table import paired, scores_of

__all__ = ['plot']


def plot(runs: ArmRuns, names: Sequence[str], base: str, seeds: Sequence[int], metric: Metric, path: str) -> None:
    """Draws a line for each arm: a dot for every seed's difference to ``base``, a bar for their mean.

    Args:
        runs (ArmRuns): Finished ones.
        names (Sequence[str]): Of the arms.
        base (str): The control.
        seeds (Sequence[int]): As many as are there are drawn.
        metric (Metric): Of the validation.
        path (str): PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    others = [name for name in names if name != base]
    control = scores_of(runs, base, seeds, metric)
    figure = Figure(figsize=(7, 1.4 + 0.45 * len(others)), layout='constrained')
    axes = figure.add_subplot()
    for place, name in enumerate(reversed(others)):
        scores = scores_of(runs, name, seeds, metric)
        colour = 'tab:grey' if runs.arms[name].control else 'tab:blue'
        differences = [scores[seed] - control[seed] for seed in scores if seed in control]
        axes.scatter(differences, [place] * len(differences), color=colour, s=24, zorder=3)
        mean = paired(scores, control).mean
        if mean is not None:
            axes.plot([mean, mean], [place - 0.25, place + 0.25], color=colour, linewidth=2)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(others)), list(reversed(others)))
    axes.set_ylim(-0.6, len(others) - 0.4)
    better = f'better to the {"right" if metric.more_is_better else "left"}'
    unit = f', in {metric.unit}' if metric.unit else ''
    axes.set_xlabel(f'{metric.told} minus that of "{base}"{unit}\n({better}; dots: seeds, bars: means)')
    axes.set_ylabel('arm')
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_atomic(path, content.getvalue())
