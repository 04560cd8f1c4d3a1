"""The source image's own depth or normals as the label of what was made from it."""
import copy
from typing import Any, Callable, Mapping, Sequence, Tuple

import cv2
import numpy as np

from .base import Label

__all__ = ['scene_loader', 'source_scene']


def scene_loader(transforms: Sequence[Any], name: str) -> Callable[[dict], dict]:
    """What reads the depth or normals of a data set: only its pipeline knows unit and frame.

    Args:
        transforms (Sequence): Of the data set's pipeline.
        name (str): 'LoadDepth' or 'LoadNormals'.

    Raises:
        ValueError: There is none among them.
    """
    found = next((t for t in transforms if type(t).__name__ == name), None)
    if found is None:
        raise ValueError(f"creation.label_from='source' reads the labels of the source images as "
                         f'the pipeline of the data set does, but that has no {name}: add it, or '
                         "set it to 'fresh'")
    return found


def source_scene(entry: Mapping[str, Any], size: Tuple[int, int],
                 loader: Callable[[dict], dict], field: str) -> Label:
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
