"""Whether a data set reads the pictures and label maps of a store as what was put into it."""

import copy
import os.path as osp
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.source_images import image_steps, load_image, map_loader, member_of, transforms_of, turns_images
from ..tasks.joint import model_of
from ..tasks.png import encode_png
from ..utils.errors import UserError, first_line
from .batch_labels import BatchLabels
from .plan import source_entry, source_indices

__all__ = ['check_images_read_back', 'check_read_back']

# Mean difference, of 255, that two decoders of JPEG may have.
_DECODERS_DIFFER = 3.0
_IMAGES = 4  # of each data set that are read
_ANY_SIZE = (32, 32)  # of a picture for which source labels are asked, to see whether there are any


def check_images_read_back(dataset: Any) -> None:
    """Has each joined data set's pipeline read a few source images, and these as a store writes them.

    Creation reads 8-bit colours by OpenCV. A loader of another depth, of other bands, or a step of one's own
    before the geometric ones gives the model other images, and would change those of the store once more.

    Args:
        dataset: The real data set, or one that wraps it.

    Raises:
        UserError: The pipeline sees other images than creation does; names the loader and the file.
    """
    for index in _few_of_each(dataset, _IMAGES):
        transforms, entry = transforms_of(dataset, index), source_entry(dataset, index)
        steps = image_steps(transforms)
        try:
            made = load_image(entry['img_path'], None, True, turns_images(dataset, index), entry['backend_args'])
        except Exception:  # whatever a decoder says of a broken file, which creation names and leaves out
            continue
        names = ', '.join(type(step).__name__ for step in steps)
        seen, _ = _image_of(steps, entry)
        if seen is None:
            continue
        # MMCV's loader gives BGR, one's own may give RGB
        orders = [order for order in (made[..., ::-1], made) if _differ(seen, order) <= _DECODERS_DIFFER]
        if not orders:
            raise UserError(
                f'creation reads {entry["img_path"]} as 8-bit colours of shape {made.shape} and mean '
                f"{made.mean():.0f}, but the data set's pipeline ({names}) makes shape {seen.shape} and mean "
                f'{seen.mean():.0f} of it: convert the images once to 8-bit colour files that LoadImageFromFile reads'
            )
        with tempfile.TemporaryDirectory() as folder:
            path = osp.join(folder, 'image.png')
            Path(path).write_bytes(encode_png(made))
            again, error = _image_of(steps, dict(entry, img_path=path, backend_args=None), stored=True)
        if again is None and error is not None:
            raise UserError(
                f"the data set's pipeline ({names}) fails where it is given the picture of a store, which has another "
                f'name and no more than its path: {type(error).__name__}, {first_line(error)}; let that step pass such '
                'an image on'
            )
        if again is None or _differ(again, orders[0]) > 0:
            raise UserError(
                f"a store holds 8-bit colour PNG files, which the data set's pipeline ({names}) reads as other "
                f'images, as those of {osp.dirname(entry["img_path"])} are of another kind: convert these once to '
                '8-bit colour files that LoadImageFromFile reads'
            )


def _differ(image: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two images, without end where they have other shapes."""
    return np.abs(image - other.astype(np.float64)).mean() if image.shape == other.shape else np.inf


def _image_of(
    steps: Sequence[Any], entry: dict[str, Any], stored: bool = False
) -> tuple[np.ndarray | None, Exception | None]:
    """The image that the loader and steps of one's own make, before a step that cannot be repeated.

    That is one which wants annotations, draws random numbers, or changes the size: an augmentation. With it the error
    of the step that failed, if one did.
    """
    results, image = copy.deepcopy(entry), None
    for step in steps:
        tried = []
        for _ in range(2 if image is not None else 1):
            own = copy.deepcopy(step)
            if stored and hasattr(own, 'backend_args'):
                own.backend_args = None  # a store lies on the disk
            try:
                tried.append(own(copy.deepcopy(results)))
            except Exception as error:  # whatever it misses
                return _exact(image), error
        new = [np.asarray(result['img']) for result in tried if result and result.get('img') is not None]
        if len(new) < len(tried):
            if image is not None or tried[0] is None:
                return _exact(image), None
            results = tried[0]
            continue
        changed = image is not None and (new[0].shape[:2] != image.shape[:2] or not np.array_equal(new[0], new[1]))
        if changed:
            return _exact(image), None
        results, image = tried[0], new[0]
    return _exact(image), None


def _exact(image: np.ndarray | None) -> np.ndarray | None:
    return None if image is None else image.astype(np.float64)


def _few_of_each(dataset: Any, number: int) -> list[int]:
    """Indices of a few images of each data set that was joined, the first and others spread over it."""
    members: dict[int, list[int]] = {}
    for index in source_indices(dataset):
        members.setdefault(id(member_of(dataset, index)), []).append(index)
    return [own[place] for own in members.values() for place in range(0, len(own), -(-len(own) // number))]


def check_read_back(labels: BatchLabels, dataset: Any) -> None:
    """Has the pipeline's own loader read a map of all classes, written as a store writes it.

    Each of joined data sets is asked. A loader of one's own may expect other files, such as coloured
    ones, and would take every synthetic label for another class, or for nothing.

    Args:
        labels (BatchLabels): What labels. Of predicted labels only maps of classes are looked at, of the source images'
            own ones those of an image of each data set.
        dataset: The real data set, or one that wraps it.

    Raises:
        ValueError: It reads something else, no file value is read as one of the classes, or a source image has no
            label of the kind that is stored.
    """
    for index in _few_of_each(dataset, 1):
        for task in labels.from_sources:
            with suppress(OSError):  # of a broken file, which creation names and leaves out
                labels.labeller.labellers[task].source_labels(_ANY_SIZE, [source_entry(dataset, index)])
        model_says = labels.unlabelled or labels.by_class or 'segmentation' not in labels.from_sources
        if 'segmentation' in labels.tasks and model_says:
            _check_maps(labels, dataset, index)


def _check_maps(labels: BatchLabels, dataset: Any, index: int) -> None:
    """:func:`check_read_back` of the data set that this sample comes from."""
    loader = copy.deepcopy(map_loader(transforms_of(dataset, index)))
    if loader is None:
        return
    if hasattr(loader, 'backend_args'):
        loader.backend_args = None  # a store lies on the disk, wherever the data set's files are
    entry = source_entry(dataset, index)
    # twice in both directions: loaders drop sides of length 1
    labeller: Any = labels.labeller.labellers['segmentation']
    classes = np.tile(np.arange(labeller.count_classes(model_of(labels.model, 'segmentation'))), (2, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'labels.png')
        Path(path).write_bytes(encode_png(labeller.to_raw(classes, entry)))
        refusal = UserError(
            "a store holds label maps of one channel with class indices, which the data set's "
            f"{type(loader).__name__} reads as other labels or not at all: let the data set's "
            "pipeline load such maps (MMSegmentation's LoadAnnotations), converting its own files "
            'once'
        )
        try:
            read = loader(dict(entry, seg_map_path=path, seg_fields=[]))
        except KeyError:  # it may want what the transforms before it add
            return
        except Exception as error:  # whatever a loader says of a map with one channel
            raise UserError(f'{refusal} (it says: {first_line(error)})') from error
    found = None if read is None else read.get('gt_seg_map')
    if found is None or not np.array_equal(found, classes):
        raise refusal
