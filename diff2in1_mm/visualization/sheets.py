"""Contact sheets: rows of pictures, such as real image, synthetic image and label."""
import io
from pathlib import Path
from typing import Optional, Sequence, Union

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..files import write_atomic

_MARGIN = 4
_TEXT_HEIGHT = 14


def label_colours(classes: int, palette: Optional[Sequence[Sequence[int]]] = None) -> np.ndarray:
    """One RGB colour per class.

    Args:
        classes: Number of classes.
        palette: Of the data set, used where it is long enough.

    Returns:
        uint8 array (classes, 3).
    """
    if palette is not None and len(palette) >= classes:
        return np.asarray(palette[:classes], np.uint8).reshape(-1, 3)
    # The golden angle keeps neighbouring classes apart for any number of them.
    hue = (np.arange(classes) * 0.618034 % 1 * 180).astype(np.uint8)
    value = np.where(np.arange(classes) % 2, 255, 180).astype(np.uint8)
    hsv = np.stack([hue, np.full(classes, 200, np.uint8), value], -1)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] if classes else hsv[0]


def overlay(image: np.ndarray, labels: np.ndarray, colours: np.ndarray,
            opacity: float = 0.6) -> np.ndarray:
    """Lay class colours over an image; labels without a colour (ignored pixels) become black.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: Integer (H, W), class indices.
        colours: uint8 (classes, 3).
        opacity: Of the colours, in [0, 1].

    Returns:
        uint8 (H, W, 3), RGB.
    """
    table = np.zeros((max(256, len(colours) + 1), 3), np.float32)
    table[:len(colours)] = colours
    known = (labels >= 0) & (labels < len(colours))
    painted = table[np.where(known, labels, len(table) - 1)]
    return (image * (1 - opacity) + painted * opacity).round().astype(np.uint8)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (),
                  height: int = 192) -> np.ndarray:
    """Put pictures into rows.

    Args:
        rows: Each a sequence of uint8 (H, W, 3) RGB pictures of any sizes, not empty.
        titles: Written above the rows, one each; fewer are allowed.
        height: To which pictures are scaled down, in pixels; smaller ones are scaled up.

    Returns:
        uint8 RGB picture, white between the parts.
    """
    strips = [_strip(row, titles[i] if i < len(titles) else '', height)
              for i, row in enumerate(rows)]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)),
                                  constant_values=255) for strip in strips])


def _strip(pictures: Sequence[np.ndarray], title: str, height: int) -> np.ndarray:
    parts = []
    for picture in pictures:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        shrinks = height < picture.shape[0]
        parts.append(np.pad(
            cv2.resize(picture, (width, height),
                       interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST),
            ((0, _MARGIN), (0, _MARGIN), (0, 0)), constant_values=255))
    strip = np.concatenate(parts, 1)
    if not title:
        return strip
    header = Image.new('RGB', (strip.shape[1], _TEXT_HEIGHT), 'white')
    # The built-in bitmap font of older Pillow versions knows Latin-1 only.
    text = title.encode('latin-1', 'replace').decode('latin-1')
    ImageDraw.Draw(header).text((2, 1), text, fill='black')
    return np.concatenate([np.asarray(header), strip])


def write_picture(path: Union[str, Path], picture: np.ndarray) -> None:
    """Writes a uint8 RGB picture in the format of the suffix, wholly or not at all."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, Image.registered_extensions()[Path(path).suffix.lower()])
    write_atomic(path, encoded.getvalue())
