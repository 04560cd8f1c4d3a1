"""Normals and depth in files."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError
from .base import AnnotationCodec, Named
from .png import decode_png, encode_png

__all__ = ['MAX_PNG_DEPTH', 'DepthArrayCodec', 'DepthCodec', 'NormalsCodec', 'decode_normals', 'encode_normals']

_MILLIMETRE = 0.001
#: Metres that a 16-bit PNG of millimetres reaches.
MAX_PNG_DEPTH = 65.535


class NormalsCodec(AnnotationCodec):
    """Normals as RGB PNG of 16 bits per channel: -1..1 as 0..65535, 0 0 0 where there is none."""

    suffix = '.png'

    def encode(self, annotation: Any, record: Named, image_shape) -> dict[str, bytes]:
        """Vectors float (H, W, 3), unit length or 0, to PNG."""
        vectors = np.asarray(annotation, np.float32)
        self.check_shape(vectors, image_shape)
        if vectors.shape[2:] != (3,) or not np.isfinite(vectors).all():
            raise UserError(f'the annotation has shape {vectors.shape}: give finite vectors of three components')
        return {self.suffix: encode_png(encode_normals(vectors))}

    def decode(self, path: Path) -> np.ndarray:
        """PNG to float32 (H, W, 3), unit length or 0."""
        return decode_normals(_read(path))

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadNormals``."""
        info.update(normal_map_path=str(path), normals_in_camera_frame=True)


class DepthCodec(AnnotationCodec):
    """Depth as PNG of 16 bits, millimetres; 0 where there is none, 65.535 metres at most."""

    suffix = '.png'

    def encode(self, annotation: Any, record: Named, image_shape) -> dict[str, bytes]:
        """Metres, float (H, W), to PNG."""
        depth = self._checked(annotation, image_shape)
        if depth.max(initial=0) > MAX_PNG_DEPTH:
            raise UserError(
                f'the depth reaches {depth.max():.1f} m, but a PNG of millimetres '
                f"ends at {MAX_PNG_DEPTH} m: set labelling=dict(file='npy')"
            )
        return {self.suffix: encode_png((depth / _MILLIMETRE).round().astype(np.uint16))}

    def _checked(self, annotation: Any, image_shape) -> np.ndarray:
        depth = np.asarray(annotation, np.float32)
        self.check_shape(depth, image_shape)
        if depth.ndim != 2 or not np.isfinite(depth).all() or depth.min(initial=0) < 0:
            raise UserError(f'the annotation has shape {depth.shape}: give finite metres >= 0, one per pixel')
        return depth

    def decode(self, path: Path) -> np.ndarray:
        """PNG to metres, float32 (H, W)."""
        return _read(path).astype(np.float32) * np.float32(_MILLIMETRE)

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadDepth``, which takes the entry's own scale."""
        info.update(depth_map_path=str(path), depth_scale=_MILLIMETRE)


class DepthArrayCodec(DepthCodec):
    """Depth as ``.npy``, float32 metres without a limit; 0 where there is none."""

    suffix = '.npy'

    def encode(self, annotation: Any, record: Named, image_shape) -> dict[str, bytes]:
        """Metres, float (H, W), to an array file."""
        content = io.BytesIO()
        np.save(content, self._checked(annotation, image_shape), allow_pickle=False)
        return {self.suffix: content.getvalue()}

    def decode(self, path: Path) -> np.ndarray:
        """Array file to metres, float32 (H, W)."""
        try:
            return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except EOFError as error:
            raise UserError('not a readable array file') from error

    def point_at(self, info: dict[str, Any], path: Path) -> None:
        """For ``LoadDepth``, which takes the entry's own scale."""
        info.update(depth_map_path=str(path), depth_scale=1.0)


def encode_normals(vectors: np.ndarray) -> np.ndarray:
    """Vectors float (H, W, 3) to uint16 RGB; the zero vector becomes 0 0 0."""
    valid = (vectors != 0).any(axis=2, keepdims=True)
    values = ((vectors.clip(-1, 1) + 1) / 2 * 65535).round()
    return np.where(valid, values, 0).astype(np.uint16)


def decode_normals(picture: np.ndarray) -> np.ndarray:
    """uint8 or uint16 (H, W, 3) RGB to unit vectors float32; zero where the picture is 0 0 0 or the
    vector too short to have a direction."""
    top = np.iinfo(picture.dtype).max
    vectors = picture.astype(np.float32) / top * 2 - 1
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    valid = picture.any(axis=2, keepdims=True) & (length > 0.1)
    return np.where(valid, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)


def _read(path: Path) -> np.ndarray:
    values = decode_png(path.read_bytes())
    if values is None or values.dtype != np.uint16:
        raise UserError('not a readable PNG of 16 bits')
    return values
