"""Pictures that a control branch follows, made of source images or their labels."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import cv2
import numpy as np
import torch

from ..datasets.labelled_folder import colour_table
from ..datasets.source_images import transforms_of
from ..datasets.wrappers import base_datasets
from ..diffusion.control import ControlBranch
from ..tasks.segmentation import read_as, source_map
from ..utils.errors import UnusableFileError, UserError
from ..utils.values import check_choice, is_number
from .batch_labels import BatchLabels
from .settings import CreationSettings

__all__ = ['Control', 'control_of']

PICTURES = ('segmentation', 'depth', 'edges')
_OPTIONS = ('source', 'picture', 'scale', 'palette', 'variant', 'revision')
_CANNY = 100, 200  # the thresholds under which the published ControlNet of edges was trained and shown

Painter = Callable[[Mapping[str, Any], np.ndarray], np.ndarray]


class Control:
    """A control branch, and what it is shown of each source image.

    Args:
        branch (ControlBranch): On the diffusion model's device.
        paint (Callable): From an annotation entry and its image, uint8 (H, W, 3), to a picture of that kind.
    """

    def __init__(self, branch: ControlBranch, paint: Painter) -> None:
        self.branch, self.paint = branch, paint

    def applied(self, diffusion: Any, pictures: np.ndarray) -> AbstractContextManager[None]:
        """Let a diffusion model follow pictures, uint8 (N, H, W, 3), in all its passes."""
        shown = torch.from_numpy(pictures).to(diffusion.device).permute(0, 3, 1, 2).float() / 255
        return diffusion.controlled(self.branch, shown)


def control_of(settings: CreationSettings, labels: BatchLabels, dataset: Any, diffusion: Any) -> Control | None:
    """What ``creation.control`` describes; None without it.

    Args:
        settings (CreationSettings): ``control`` holds ``source`` (folder or hub id of a ControlNet), ``picture``
            ('segmentation', 'depth' or 'edges'; default 'segmentation'), ``scale`` (of what it adds, default 1),
            ``palette`` (RGB of each class; default: the data set's), ``variant`` and ``revision``.
        labels (BatchLabels): Its tasks read the source images' labels.
        dataset: Of the source images.
        diffusion (DiffusionModel): What is to follow.

    Raises:
        ValueError: An option is unknown or out of range, the branch does not fit the model, or the data set has no
            such labels.
    """
    if settings.control is None:
        return None
    options = _checked(settings.control)
    if not (diffusion.has_text and hasattr(diffusion, 'controlled')):
        raise UserError(
            f'creation.control makes U-Nets with text follow pictures, and {diffusion.source!r} is none: leave it out'
        )
    paint = _painter(options['picture'], options.get('palette'), labels, dataset)
    more = {name: options.get(name) for name in ('variant', 'revision')}
    branch = ControlBranch.from_pretrained(options['source'], diffusion.dtype, options['scale'], **more)
    branch.check_fits(diffusion.unet, diffusion.latent_stride, diffusion.source)
    return Control(branch.to(diffusion.device), paint)


def _checked(options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping) or not isinstance(options.get('source'), str):
        raise UserError(f'creation.control = {options!r} must be a dict with the source of a ControlNet')
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise UserError(f'creation.control has no option {unknown[0]!r}: it knows {", ".join(_OPTIONS)}')
    found = dict(dict(picture='segmentation', scale=1.0), **options)
    check_choice('creation.control.picture', found['picture'], PICTURES)
    if not is_number(found['scale'], 0):
        raise UserError(f'creation.control.scale = {found["scale"]!r} must be a number of at least 0 (1: as trained)')
    return found


def _painter(picture: str, palette: Any, labels: BatchLabels, dataset: Any) -> Painter:
    """What makes such a picture of an annotation entry and its image."""
    if picture != 'segmentation' and palette is not None:
        raise UserError(f'creation.control.palette colours classes, but picture is {picture!r}: leave it out')
    if picture == 'edges':
        return lambda entry, image: _grey(cv2.Canny(image, *_CANNY))
    found = next((lab for lab in labels.labeller.labellers.values() if _reads(lab, picture)), None)
    if found is None:
        raise UserError(
            f'creation.control.picture={picture!r} shows labels of the source images, but the model learns '
            f"{labels.labeller.task}: set it to 'edges', which need none"
        )
    if picture == 'segmentation':
        colours = _colours(palette, dataset.metainfo)
        return lambda entry, image: colours[read_as(entry)[source_map(entry, image.shape[:2]).annotation]]
    for base in base_datasets(dataset):
        found.read_sources(transforms_of(base))

    def depth(entry: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        (label,) = found.source_labels(image.shape[:2], [entry])
        if label is None:
            raise UnusableFileError(f'{entry["img_path"]} has no depth, which creation.control shows')
        return _grey(nearness(label.annotation))

    return depth


def _reads(labeller: Any, picture: str) -> bool:
    return hasattr(labeller, 'source_labels') and labeller.task.startswith(picture)


def _colours(palette: Sequence[Sequence[int]] | None, metainfo: Mapping[str, Any]) -> np.ndarray:
    """Colour of each label that a map can hold, uint8 (256, 3); black for what is no class."""
    classes = metainfo.get('classes') or ()
    chosen = metainfo.get('palette') if palette is None else palette
    if not isinstance(chosen, (list, tuple)) or len(chosen) != len(classes):
        whose = 'the data set has no palette' if palette is None else 'creation.control.palette does not fit'
        raise UserError(
            f'{whose}: creation.control shows {len(classes)} classes in colours, so give it palette=[[r, g, b], ...] '
            'with the colours of 0 to 255 that the ControlNet was trained on'
        )
    return colour_table(chosen, 'creation.control.palette')


def nearness(depth: np.ndarray) -> np.ndarray:
    """Inverse depth, as the published ControlNet of depth knows it: the nearest pixel is white.

    Args:
        depth (ndarray): In metres, (H, W); 0 where it is not known.

    Returns:
        ndarray: uint8 (H, W), 255 for the nearest and 0 for the farthest pixel and for those that are not known.
    """
    known = depth > 0
    inverse = 1 / np.where(known, depth, 1)
    if not known.any():
        return np.zeros(depth.shape, np.uint8)
    low, high = inverse[known].min(), inverse[known].max()
    return np.where(known, (inverse - low) / max(high - low, 1e-12) * 255, 0).round().astype(np.uint8)


def _grey(channel: np.ndarray) -> np.ndarray:
    return np.repeat(channel[..., None], 3, axis=2)
