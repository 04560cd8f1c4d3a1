"""A picture of what classes synthetic samples show, and how far their labels are those of the source images."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

__all__ = ['class_table']

_MOST = 60  # classes of a picture
_LINE = 0.26  # inches of a class


def class_table(
    samples: Mapping[str, float],
    sources: Mapping[str, float],
    agreement: Mapping[str, float],
    unit: str = '% of the pixels',
) -> np.ndarray:
    """Bars for each class: how much of it samples and their sources show, and beside it how far both labels agree.

    Args:
        samples (Mapping[str, float]): Class -> how much of it the samples' labels show.
        sources (Mapping[str, float]): The same of the source images' own labels; empty where they are not known.
        agreement (Mapping[str, float]): Class -> intersection over union of the two, in [0, 1]; empty likewise.
        unit (str): Of the first two; shares of the pixels are drawn in per cent.

    Returns:
        ndarray: uint8 (H, W, 3), RGB. Of more than sixty classes those are drawn that there is most of.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    every = sorted(dict.fromkeys([*samples, *sources, *agreement]), key=lambda name: -samples.get(name, 0))
    names = every[:_MOST]
    places = np.arange(len(names))[::-1]
    scale = 100 if unit.startswith('%') else 1
    figure = Figure(figsize=(9 if agreement else 6, 1.1 + _LINE * len(names)), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True) if agreement else [figure.subplots()]
    parts = [('synthetic samples', samples, 'tab:blue')] + [('source images', sources, 'tab:grey')] * bool(sources)
    for number, (label, shares, colour) in enumerate(parts):
        height = 0.8 / len(parts)
        shift = (len(parts) - 1) / 2 - number
        values = [scale * shares.get(name, 0) for name in names]
        panels[0].barh(places + shift * height, values, height, color=colour, label=label)
    panels[0].set(xlabel=unit, ylabel='class', ylim=(-0.6, len(names) - 0.4))
    panels[0].set_yticks(places, [_printable(name) for name in names])
    panels[0].legend(fontsize='small', loc='lower right')  # where the shortest bars are
    if agreement:
        panels[1].barh(places, [100 * agreement.get(name, np.nan) for name in names], 0.8, color='tab:green')
        panels[1].set(xlabel="IoU of the samples' labels and their sources' (%)", xlim=(0, 100))
    if len(every) > _MOST:
        figure.suptitle(f'{_MOST} of {len(every)} classes', fontsize='medium')
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return np.asarray(Image.open(content).convert('RGB'))


def _printable(name: str) -> str:
    """Dollar signs would be read as formulas."""
    return name.replace('$', r'\$')
