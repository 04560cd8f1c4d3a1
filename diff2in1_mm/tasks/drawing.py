"""Stored annotations as pictures."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from ..utils.pictures import depth_picture, normals_picture, overlay
from .codecs.instances import Instances
from .codecs.panoptic import PanopticMap
from .label_values import loaded_labels

__all__ = ['draw_annotation']


def draw_annotation(
    image: np.ndarray, annotation: Any, colours: np.ndarray, entry: Mapping[str, Any], opacity: float = 0.6
) -> np.ndarray:
    """Lay what a store holds of an image over it.

    Args:
        image: uint8 (H, W, 3), RGB.
        annotation: As the task's codec decodes it; None leaves the image bare.
        colours: Of the classes, uint8 (classes, 3), RGB.
        entry: Annotation entry of the source image: how label values are read.
        opacity: Of the colours, in [0, 1].

    Returns:
        uint8 (H, W, 3), RGB.
    """
    if annotation is None:
        return image
    if isinstance(annotation, Instances):
        return _draw_instances(image, annotation, colours, opacity)
    if isinstance(annotation, PanopticMap):
        labels = np.append(255, annotation.labels)[annotation.ids]
        edges = _edges(annotation.ids)
        return np.where(edges[..., None], np.uint8(255), overlay(image, labels, colours, opacity))
    if np.issubdtype(annotation.dtype, np.floating):  # normals or depth: no overlay
        if annotation.ndim == 3:
            return normals_picture(annotation.transpose(2, 0, 1))
        return depth_picture(annotation)
    table = loaded_labels(bool(entry.get('reduce_zero_label')), entry.get('label_map'))
    return overlay(image, table[annotation], colours, opacity)


def _draw_instances(image: np.ndarray, found: Instances, colours: np.ndarray, opacity: float) -> np.ndarray:
    """Masks and boxes; those to be ignored are white."""
    picture = np.ascontiguousarray(image)
    width = max(1, round(min(image.shape[:2]) / 200))
    for i, (box, label, ignored) in enumerate(zip(found.bboxes, found.labels, found.ignored)):
        colour = (255, 255, 255) if ignored else tuple(int(c) for c in colours[label])
        if found.masks is not None:
            mask = found.masks[i]
            picture = picture.copy()
            picture[mask] = (picture[mask] * (1 - opacity) + np.array(colour) * opacity).round()
        x1, y1, x2, y2 = np.asarray(box).round().astype(int)
        picture = cv2.rectangle(picture.copy(), (x1, y1), (x2 - 1, y2 - 1), colour, width)
    return picture


def _edges(ids: np.ndarray) -> np.ndarray:
    """Pixels (H, W) whose right or lower neighbour is of another segment."""
    edges = np.zeros(ids.shape, bool)
    edges[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edges[:-1] |= ids[1:] != ids[:-1]
    return edges
