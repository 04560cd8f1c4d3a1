"""Contact sheets: rows of pictures, such as real image, synthetic image and label."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .atomic_files import write_atomic
from .errors import UserError

_MARGIN = 4
_TEXT_HEIGHT = 14


def label_colours(classes: int, palette: Sequence[Sequence[int]] | None = None) -> np.ndarray:
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


def overlay(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, opacity: float = 0.6) -> np.ndarray:
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
    table[: len(colours)] = colours
    known = (labels >= 0) & (labels < len(colours))
    painted = table[np.where(known, labels, len(table) - 1)]
    return (image * (1 - opacity) + painted * opacity).round().astype(np.uint8)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), height: int = 192) -> np.ndarray:
    """Put pictures into rows.

    Args:
        rows: Each a sequence of uint8 (H, W, 3) RGB pictures of any sizes, not empty.
        titles: Written above the rows, one each; fewer are allowed.
        height: To which pictures are scaled down, in pixels; smaller ones are scaled up.

    Returns:
        uint8 RGB picture, white between the parts.
    """
    strips = [_strip(row, titles[i] if i < len(titles) else '', height) for i, row in enumerate(rows)]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    )


def _strip(pictures: Sequence[np.ndarray], title: str, height: int) -> np.ndarray:
    parts = []
    for picture in pictures:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        shrinks = height < picture.shape[0]
        parts.append(
            np.pad(
                cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST),
                ((0, _MARGIN), (0, _MARGIN), (0, 0)),
                constant_values=255,
            )
        )
    strip = np.concatenate(parts, 1)
    if not title:
        return strip
    header = Image.new('RGB', (strip.shape[1], _TEXT_HEIGHT), 'white')
    # The built-in bitmap font of older Pillow versions knows Latin-1 only.
    text = title.encode('latin-1', 'replace').decode('latin-1')
    from PIL import ImageDraw  # fonts: 0.3 s that an import of the package need not wait for

    ImageDraw.Draw(header).text((2, 1), text, fill='black')
    return np.concatenate([np.asarray(header), strip])


def with_legend(picture: np.ndarray, names: Sequence[str], colours: np.ndarray) -> np.ndarray:
    """A picture with what its colours mean below it.

    Args:
        picture: uint8 (H, W, 3), RGB.
        names: Of classes.
        colours: Of these, uint8 (names, 3).

    Returns:
        uint8 (H', W, 3), RGB; higher by as many lines as the names take.
    """
    from PIL import ImageDraw, ImageFont  # as in a sheet, late

    font = ImageFont.load_default()
    x, y, places = _MARGIN, _MARGIN, []
    for name in (name.encode('latin-1', 'replace').decode('latin-1') for name in names):
        width = _TEXT_HEIGHT + round(font.getlength(name)) + 2 * _MARGIN
        if x + width > picture.shape[1] and x > _MARGIN:
            x, y = _MARGIN, y + _TEXT_HEIGHT + _MARGIN
        places.append((x, y, name))
        x += width + 2 * _MARGIN
    strip = Image.new('RGB', (picture.shape[1], y + _TEXT_HEIGHT + _MARGIN if names else 0), 'white')
    draw = ImageDraw.Draw(strip)
    for (left, top, name), colour in zip(places, np.asarray(colours).tolist()):
        draw.rectangle((left, top + 1, left + 10, top + 11), fill=tuple(colour), outline='grey')
        draw.text((left + _TEXT_HEIGHT, top + 1), name, fill='black', font=font)
    return np.concatenate([picture, np.asarray(strip)]) if names else picture


def picture_format(path: str | Path) -> str:
    """Pillow's name of the format of a file that is to be written.

    Raises:
        ValueError: The suffix is of none.
    """
    found = Image.registered_extensions().get(Path(path).suffix.lower())
    if found not in Image.SAVE:
        raise UserError(f'{path} does not end as a picture does: give a name such as {Path(path).stem}.png')
    return found


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Writes a uint8 RGB picture in the format of the suffix, wholly or not at all.

    Raises:
        ValueError: The suffix is of no format for pictures.
    """
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, picture_format(path))
    write_atomic(path, encoded.getvalue())


_BAR = 0.06  # of the height: the strip below a depth map
_LEAST_BAR = 14  # pixels


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """Normals as colours: x, y, z from -1..1 to red, green, blue.

    Args:
        normals: float (3, H, W); the zero vector becomes black.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    vectors = np.asarray(normals, np.float32)[:3].transpose(1, 2, 0)
    valid = (vectors != 0).any(axis=2, keepdims=True)
    return np.where(valid, ((vectors.clip(-1, 1) + 1) * 127.5).round(), 0).astype(np.uint8)


def depth_picture(depth: np.ndarray, max_depth: float | None = None, scale: bool = True) -> np.ndarray:
    """Depth in a perceptual map, near bright, with a bar that says how far.

    Args:
        depth: Metres, float (H, W) or (1, H, W); 0 (invalid) becomes black.
        max_depth: The far end of the colours; None: the largest depth.
        scale: Draw the bar into the lowest rows. Default True.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    depth = np.asarray(depth, np.float32)
    depth = depth.reshape(depth.shape[-2:])
    top = float(max_depth or depth.max(initial=0) or 1.0)
    colours = _colours(depth / top)
    picture = np.where((depth > 0)[..., None], colours, 0).astype(np.uint8)
    height, width = picture.shape[:2]
    bar = max(_LEAST_BAR, round(_BAR * height))
    if not scale or height < 3 * bar or width < 5 * bar:
        return picture
    picture = np.ascontiguousarray(picture)
    picture[-bar:] = _colours(np.linspace(0, 1, width))[None]
    size = bar / 34
    for text, place, ink in (('0 m', 2, (0, 0, 0)), (f'{top:.1f} m', None, (255, 255, 255))):
        (long, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        x = width - long - 2 if place is None else place
        cv2.putText(picture, text, (x, height - bar // 4), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
    return picture


def _colours(share: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] to uint8 RGB, (..., 3)."""
    import matplotlib  # half a second, which importing the package does without

    # the map's last tenth is as good as black, which is for what is invalid
    return matplotlib.colormaps['magma_r'](np.clip(share, 0, 1) * 0.9, bytes=True)[..., :3]
