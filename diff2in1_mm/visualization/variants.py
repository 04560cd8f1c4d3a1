"""Predictions with a legend, also of a photograph's partial-noise variants beside it."""

import os.path as osp
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ['Pair', 'variants_picture', 'with_legend']

_GAP = 6  # pixels between the cells
_TEXT = 13  # pixels, size of the letters
_LINE = 20  # pixels, height of a line of text
_CELL_HEIGHTS = (192, 360)  # pixels: readable, and no poster


class Pair(NamedTuple):
    """An image beside its prediction.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        overlay: The prediction drawn over it, uint8 (H, W, 3), RGB.
    """

    image: np.ndarray
    overlay: np.ndarray


def variants_picture(
    photograph: Pair,
    rows: Sequence[tuple[int, Sequence[Pair]]],
    title: str,
    legend: Iterable[tuple[str, Sequence[int] | np.ndarray]] = (),
) -> np.ndarray:
    """Photograph and prediction on top, below them one row of variants for each noise step.

    Images stand in one column below the photograph, predictions below its prediction, so that a
    look down a column shows what more noise changes. The legend stands beside the photograph where
    there is more than one variant in a row, otherwise at the bottom.

    Args:
        photograph: The real image.
        rows: Noise step and its variants, all of the same number, at least one.
        title: What the picture shows; cut to its width.
        legend: Name and RGB colour of each class that appears.

    Returns:
        uint8 RGB picture.
    """
    size = _cell_size(rows[0][1][0].image)
    columns = 2 * len(rows[0][1])
    width = columns * size[0] + (columns - 1) * _GAP
    strips = [_text_line(title, width)]
    strips.append(_strip(photograph, 'photograph', 'prediction', size))
    beside = width - strips[1].shape[1] - _GAP
    legend = list(legend)
    if legend and beside > 0:
        panel = _legend(legend, beside, top=_LINE)  # level with the photograph below its caption
        if len(panel) <= len(strips[1]):
            strips[1] = _beside([strips[1], panel])
            legend = []
    for T, pairs in rows:
        strips.append(
            _beside([_strip(pair, f'T = {T}', _caption(i, len(pairs)), size) for i, pair in enumerate(pairs)])
        )
    if legend:
        strips.append(_legend(legend, width, top=0))
    picture = np.concatenate([_fill(strip, width) for strip in strips])
    return np.pad(picture, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def with_legend(picture: np.ndarray, legend: Iterable[tuple[str, Sequence[int] | np.ndarray]]) -> np.ndarray:
    """Puts a legend below a picture.

    Args:
        picture: uint8 (H, W, 3), RGB.
        legend: Name and RGB colour of each class that appears.

    Returns:
        uint8 RGB picture of the same width, of which the upper H rows are the given one.
    """
    legend = list(legend)
    if not legend:
        return picture
    return np.concatenate([picture, _legend(legend, picture.shape[1], top=0)])


def _caption(index: int, count: int) -> str:
    return 'prediction' if count == 1 else f'prediction, variant {index + 1}'


def _cell_size(image: np.ndarray) -> tuple[int, int]:
    """(w, h) of all cells: the variants' own size where that is reasonable."""
    height = int(np.clip(image.shape[0], *_CELL_HEIGHTS))
    return max(1, round(image.shape[1] * height / image.shape[0])), height


def _strip(pair: Pair, left: str, right: str, size: tuple[int, int]) -> np.ndarray:
    cells = []
    for picture, caption in zip(pair, (left, right)):
        shrinks = size[1] < picture.shape[0]
        resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        cell = np.concatenate([_text_line(caption, size[0]), resized])
        cells.append(np.pad(cell, ((0, _GAP), (0, 0), (0, 0)), constant_values=255))
    return _beside(cells)


def _beside(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures from left to right with gaps, white below the shorter ones."""
    height = max(len(part) for part in parts)
    padded = [np.pad(part, ((0, height - len(part)), (0, _GAP), (0, 0)), constant_values=255) for part in parts]
    return np.concatenate(padded, 1)[:, :-_GAP]


def _fill(strip: np.ndarray, width: int) -> np.ndarray:
    return np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)


def _text_line(text: str, width: int) -> np.ndarray:
    font = _font()
    while text and font.getlength(text) > width:
        text = text[:-2] + '…' if len(text) > 2 else ''
    line = Image.new('RGB', (width, _LINE), 'white')
    ImageDraw.Draw(line).text((1, _LINE // 2), text, fill='black', font=font, anchor='lm')
    return np.asarray(line)


def _legend(entries: Sequence[tuple[str, Sequence[int] | np.ndarray]], width: int, top: int) -> np.ndarray:
    """Coloured squares with names, in as many lines as the width asks for."""
    font = _font()
    places: list[tuple[int, int]] = []
    x = y = 0
    for name, _ in entries:
        needed = round(font.getlength(name)) + 3 * _TEXT
        if x and x + needed > width:
            x, y = 0, y + _LINE
        places.append((x, y))
        x += needed
    panel = Image.new('RGB', (width, top + y + _LINE), 'white')
    draw = ImageDraw.Draw(panel)
    for (name, colour), (x, y) in zip(entries, places):
        middle = top + y + _LINE // 2
        draw.rectangle(
            (x, middle - _TEXT // 2, x + _TEXT, middle + _TEXT // 2),
            fill=tuple(int(c) for c in colour),
            outline='black',
        )
        draw.text((x + _TEXT + 5, middle), name, fill='black', font=font, anchor='lm')
    return np.asarray(panel)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    """The font that MMEngine's visualizers write with too; it knows more than Latin letters."""
    import matplotlib  # half a second, which importing the package does without

    return ImageFont.truetype(osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), _TEXT)
