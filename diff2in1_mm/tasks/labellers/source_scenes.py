"""The source image's own depth or normals as the label of what was made from it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ...utils.errors import UserError
from .base import Label

__all__ = ['check_depth_loader', 'scene_loader', 'source_scene']

# What MMSegmentation's `LoadDepthAnnotation` must be told for the files of each task.
_READS_STORE = dict(depth=('cv2', 0.001), depth_npy=('numpy', 1.0))


def scene_loader(transforms: Sequence[Any], name: str) -> Callable[[dict], dict]:
    """What reads the depth or normals of a data set: only its pipeline knows unit and frame.

    Args:
        transforms (Sequence): Of the data set's pipeline.
        name (str): 'LoadDepth' or 'LoadNormals'.

    Raises:
        ValueError: There is none among them.
    """
    found = _loader(transforms, name)
    if found is None:
        raise UserError(
            f"creation.label_from='source' reads the labels of the source images as "
            f'the pipeline of the data set does, but that has no {name}: add it, or '
            "set it to 'fresh'"
        )
    return found


def check_depth_loader(transforms: Sequence[Any], task: str) -> None:
    """Whether a pipeline reads the depth of a store as metres.

    Only ``LoadDepth`` takes the unit from the entry; MMSegmentation's ``LoadDepthAnnotation`` has
    one for all files, which may be another than the store's. Loaders of one's own are not judged.

    Args:
        transforms (Sequence): Of the data set's pipeline.
        task (str): 'depth' (PNG of millimetres) or 'depth_npy' (arrays of metres).

    Raises:
        ValueError: It reads something else.
    """
    found = _loader(transforms, 'LoadDepthAnnotation')
    if found is None or _loader(transforms, 'LoadDepth') is not None:
        return
    backend, scale = _READS_STORE[task]
    given = found.depth_rescale_factor
    if found.decode_backend != backend or not np.isclose(given, scale, rtol=1e-6, atol=0):
        kind = dict(depth='PNG of millimetres', depth_npy='arrays of metres')[task]
        raise UserError(
            f"a store holds depth as {kind}, which the data set's "
            f'{type(found).__name__}(depth_rescale_factor={given:g}) reads as other '
            f"depth or not at all: take dict(type='LoadDepth', scale={given:.9g}), "
            'and PackSceneInputs at the end of the pipeline, in place of it'
        )


def source_scene(entry: Mapping[str, Any], size: tuple[int, int], loader: Callable[[dict], dict], field: str) -> Label:
    """What a data set says of an image's pixels, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry, as ``loader`` takes it.
        size (tuple[int, int]): Height and width of the generated picture.
        loader (Callable): Of :func:`scene_loader`.
        field (str): What it adds, 'gt_depth_map' or 'gt_normal_map'.

    Returns:
        Label: Float32 (H, W) metres or (H, W, 3) unit vectors in the camera's frame, of the nearest
            pixel; 0 where the data set has no label.
    """
    # a loader writes into what it is given
    maps = loader(dict(copy.deepcopy(dict(entry)), seg_fields=[]))[field].astype(np.float32)
    maps = cv2.resize(maps, size[::-1], interpolation=cv2.INTER_NEAREST)
    invalid = maps == 0 if maps.ndim == 2 else (maps == 0).all(2)
    return Label(maps, dict(ignored=float(invalid.mean())))


def _loader(transforms: Sequence[Any], name: str) -> Any:
    """The first transform of a class of this name, or of one made from it; None without one."""
    return next((t for t in transforms if name in (k.__name__ for k in type(t).__mro__)), None)
