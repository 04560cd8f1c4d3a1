"""Reading source images, and what their labels show."""

from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get
from mmengine.registry import TRANSFORMS

from ..utils.errors import UnfitError, UnusableFileError
from .wrappers import leaves, resolve

# Libraries whose transforms after loading change images at random or for the batch.
_STOCK = ('mmcv', 'mmengine', 'mmseg', 'mmdet', 'mmpretrain', 'diff2in1_mm')


def load_image(
    path: str,
    scale: tuple[int, int] | None = None,
    keep_ratio: bool = True,
    turn: bool = True,
    backend_args: dict | None = None,
) -> np.ndarray:
    """Reads an image as MMCV's ``LoadImageFromFile`` does.

    Args:
        path: Also a URL that MMEngine's file clients know.
        scale: (w, h) to resize to; None: as it is.
        keep_ratio: As in MMCV's ``Resize``.
        turn: Whether the EXIF orientation is applied, see :func:`turns_images`.
        backend_args: As in the data set, see :func:`read_by`.

    Returns:
        uint8 array (H, W, 3), RGB.

    Raises:
        OSError: The file is missing or is no image.
    """
    flag = 'color' if turn else 'color_ignore_orientation'
    try:
        image = mmcv.imfrombytes(get(path, backend_args), flag=flag, channel_order='bgr')
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise UnusableFileError('it is no image that OpenCV reads')
    image = np.ascontiguousarray(image[..., ::-1])  # MMCV turns BGR for 'color' only
    if scale is not None and keep_ratio:
        image = mmcv.imrescale(image, tuple(scale))
    elif scale is not None:
        image = mmcv.imresize(image, tuple(scale))
    return image


def turns_images(dataset: Any, index: int | None = None) -> bool:
    """Whether a data set's own pipeline applies the EXIF orientation, so that creation does too.

    Args:
        dataset: Any data set of MMEngine's kind, in wrappers or not.
        index (int | None): Of the image, as joined data sets may load differently; None: the first one's.
    """
    loader = next((t for t in transforms_of(dataset, index) if hasattr(t, 'color_type')), None)
    kind = str(getattr(loader, 'color_type', ''))
    return not (kind.endswith('ignore_orientation') or kind == 'unchanged')


def map_loader(transforms: Sequence[Any]) -> Any | None:
    """What reads the label maps of a data set with this pipeline.

    Args:
        transforms (Sequence): Of the pipeline.

    Returns:
        The first among them that is a ``LoadAnnotations`` or of a class made from one, which keeps
        state; MMSegmentation's where there are no transforms; None where the maps are read by
        something else.
    """
    if not transforms:
        return TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))
    return next((t for t in transforms if hasattr(t, '_load_seg_map')), None)


def image_steps(transforms: Sequence[Any]) -> list[Any]:
    """What makes the image of a pipeline: its loader, and what is not the libraries' own before their first change.

    Args:
        transforms (Sequence): Of the pipeline. Those that load annotations are left out.
    """
    steps = []
    for transform in transforms:
        name = type(transform).__name__
        loads = 'Image' in name if name.startswith('Load') else None
        if hasattr(transform, '_load_seg_map') or hasattr(transform, '_load_bboxes') or loads is False:
            continue
        if loads is None and type(transform).__module__.partition('.')[0] in _STOCK:
            break
        steps.append(transform)
    return steps


def read_by(dataset: Any, index: int | None = None) -> dict | None:
    """``backend_args`` by which a data set reads the files of a sample; see :func:`member_of`."""
    return getattr(member_of(dataset, index), 'backend_args', None)


def transforms_of(dataset: Any, index: int | None = None) -> list[Any]:
    """Transforms of the pipeline that loads images.

    Args:
        dataset: Any data set of MMEngine's kind, in wrappers or not.
        index (int | None): Of a sample; None: the first data set counts where there are several.

    Returns:
        list: Of the data set inside all wrappers, see :func:`member_of`.
    """
    return list(getattr(getattr(member_of(dataset, index), 'pipeline', None), 'transforms', ()))


def member_of(dataset: Any, index: int | None = None) -> Any:
    """The data set inside all wrappers that loads a sample; None: the first of them."""
    if index is None:
        return next(leaves(dataset))
    dataset = dataset.real if hasattr(dataset, 'source_info') else dataset
    try:
        return resolve(dataset, index).base
    except UnfitError:  # a wrapper of somebody else, who must see to it that its parts are alike
        return next(leaves(dataset))
