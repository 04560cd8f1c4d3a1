"""Whether the labels of several tasks of one image agree."""

from collections.abc import Collection, Mapping
from typing import Any

import cv2
import numpy as np

from ..utils.errors import UserError, did_you_mean
from ..utils.values import is_number

__all__ = [
    'FIGURES',
    'boundaries_of_labels',
    'check_consistency',
    'check_tasks',
    'consistency',
    'is_consistent',
    'normals_of_depth',
]

#: Figure in a sample's quality -> the tasks that it compares, and whether less is better.
FIGURES = {
    'consistency.depth_normals': (('depth', 'normals'), True),
    'consistency.segmentation_boundaries': (('segmentation', 'boundaries'), False),
}
_REACH = 2  # pixels that boundaries may be apart


def check_tasks(limits: Mapping[str, float], tasks: Collection[str]) -> None:
    """Whether labels of these tasks have the figures that are limited.

    Raises:
        ValueError: They have not, so that the limit would be without effect.
    """
    for name, (compared, _) in FIGURES.items():
        lacking = [task for task in compared if task not in {name.removesuffix('_npy') for name in tasks}]
        if name.partition('.')[2] in limits and lacking:
            raise UserError(
                f'creation.consistency[{name.partition(".")[2]!r}] compares {" with ".join(compared)}, and the model '
                f'has no {lacking[0]}: leave it out, or give the model that task'
            )


def check_consistency(limits: Any) -> None:
    """Whether ``creation.consistency`` is ``focal`` and limits of figures.

    Raises:
        ValueError: It is something else.
    """
    known = ['focal', *(name.partition('.')[2] for name in FIGURES)]
    if not isinstance(limits, Mapping):
        raise UserError(f'creation.consistency = {limits!r} is a dict of {", ".join(known)}')
    for name, value in limits.items():
        if name not in known:
            raise UserError(f'creation.consistency has no {name!r}' + did_you_mean(name, known))
        if not is_number(value, 0) or name == 'focal' and not value:
            raise UserError(f'creation.consistency[{name!r}] = {value!r} must be a number above 0')


def consistency(annotation: Mapping[str, Any], focal: float = 1.0) -> dict[str, float]:
    """How far the labels of an image agree.

    Args:
        annotation (Mapping): Task -> label, as a store holds it.
        focal (float): Focal length of the camera as a share of the image's longer side.

    Returns:
        dict[str, float]: ``consistency.depth_normals``: median angle in degrees between the normals and those of the
        depth; ``consistency.segmentation_boundaries``: F measure in [0, 1] of boundaries and edges of the label map, 2
        pixels apart at most. Those whose tasks are there and have labels.
    """
    found = {}
    depth = annotation.get('depth', annotation.get('depth_npy'))
    if depth is not None and 'normals' in annotation:
        angle = _median_angle(normals_of_depth(depth, focal), np.asarray(annotation['normals'], np.float32))
        found['consistency.depth_normals'] = angle
    if 'segmentation' in annotation and 'boundaries' in annotation:
        edges = boundaries_of_labels(annotation['segmentation'])
        found['consistency.segmentation_boundaries'] = _f_measure(edges, np.asarray(annotation['boundaries']) == 1)
    return {name: value for name, value in found.items() if value is not None}


def is_consistent(quality: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether a sample's figures keep the limits that a config sets; a figure that is not there does."""
    for name, (_, lower_is_better) in FIGURES.items():
        limit, value = limits.get(name.partition('.')[2]), quality.get(name)
        if limit is not None and value is not None and (value > limit if lower_is_better else value < limit):
            return False
    return True


def normals_of_depth(depth: np.ndarray, focal: float = 1.0) -> np.ndarray:
    """Normals of the surface that a depth map shows to a pinhole camera: cross product of central differences.

    Args:
        depth (ndarray): Metres along the optical axis (H, W); 0 where there is none.
        focal (float): As a share of the longer side.

    Returns:
        ndarray: Unit vectors in the camera's frame (x right, y up, z towards the viewer), float32 (H, W, 3); 0 where a
        neighbour has no depth, and at the border.
    """
    depth = np.asarray(depth, np.float32)
    height, width = depth.shape
    scale = focal * max(height, width)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / scale
    y = (height / 2 - np.arange(height, dtype=np.float32) - 0.5) / scale
    points = np.stack([depth * x, depth * y[:, None], -depth], -1)
    along_x = points[1:-1, 2:] - points[1:-1, :-2]
    along_y = points[:-2, 1:-1] - points[2:, 1:-1]  # upwards
    cross = np.cross(along_x, along_y)
    length = np.linalg.norm(cross, axis=2, keepdims=True)
    near = (depth[1:-1, 2:], depth[1:-1, :-2], depth[2:, 1:-1], depth[:-2, 1:-1])
    valid = np.all([part > 0 for part in near], axis=0)[..., None] & (length > 0)
    found = np.zeros((height, width, 3), np.float32)
    found[1:-1, 1:-1] = np.where(valid, cross / np.maximum(length, 1e-12), 0)
    return found


def boundaries_of_labels(labels: np.ndarray) -> np.ndarray:
    """Pixels on either side of a change of the label, bool (H, W)."""
    labels = np.asarray(labels)
    found = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= right
    found[:, :-1] |= right
    return found


def _median_angle(first: np.ndarray, second: np.ndarray) -> float | None:
    valid = (first != 0).any(2) & (second != 0).any(2)
    if not valid.any():
        return None
    cosine = (first[valid] * second[valid]).sum(1).clip(-1, 1)
    return float(np.degrees(np.arccos(np.median(cosine))))


def _f_measure(first: np.ndarray, second: np.ndarray) -> float | None:
    if not first.any() or not second.any():
        return None if not first.any() and not second.any() else 0.0
    kernel = np.ones((2 * _REACH + 1,) * 2, np.uint8)
    near_first, near_second = (cv2.dilate(part.astype(np.uint8), kernel) > 0 for part in (first, second))
    precision, recall = near_first[second].mean(), near_second[first].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))
