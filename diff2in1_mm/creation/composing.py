"""Source images with things of others pasted in, before they are noised."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from ..datasets.object_pasting import cut_objects, with_objects
from ..datasets.pasting import DONORS, Composer, CutOut, Placed, cut_outs, paste_all
from ..datasets.source_images import load_image, turns_images
from ..tasks.label_values import to_raw_labels
from ..tasks.segmentation import read_as, source_map
from ..tasks.source_instances import source_label
from ..utils.errors import UserError
from ..utils.kept import Kept
from ..utils.randomness import stable_seed
from ..utils.values import check_whole, is_number
from .class_levels import SEAMS
from .plan import Sample, source_entry, source_indices
from .settings import CreationSettings

__all__ = ['composer_of', 'read_source', 'seams_of']

_KEPT = 300  # images whose things stay in memory: to read and cut them takes most of a composition's time

Composed = tuple[np.ndarray, dict[str, Any]]


def read_source(dataset: Any, index: int, settings: CreationSettings) -> np.ndarray:
    """A source image at the size in which it is varied, uint8 (H, W, 3), RGB.

    Raises:
        OSError: Its file is missing or is no image.
    """
    entry = source_entry(dataset, index)
    turn = turns_images(dataset, index)
    return load_image(entry['img_path'], settings.scale, settings.keep_ratio, turn, entry['backend_args'])


class _Maps:
    """How things are cut and pasted where labels are label maps."""

    def __init__(self, composer: Composer, hidden: float) -> None:
        self._composer = composer

    def cut(self, image: np.ndarray, entry: Mapping[str, Any]) -> list[CutOut]:
        return cut_outs(image, self._labels(image, entry), self._composer.indices, self._composer.min_area)

    def relabelled(
        self, image: np.ndarray, entry: Mapping[str, Any], placed: Sequence[Placed], numbers: np.ndarray
    ) -> dict[str, Any]:
        labels = self._labels(image, entry)
        of_number = np.array([0, *(thing.label for thing, _ in placed)], labels.dtype)
        labels = np.where(numbers > 0, of_number[numbers], labels)
        reading = bool(entry.get('reduce_zero_label')), entry.get('label_map')
        return dict(label_map_of_picture=to_raw_labels(labels, *reading))

    @staticmethod
    def _labels(image: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
        return read_as(entry)[source_map(entry, image.shape[:2]).annotation]


class _Objects:
    """How they are where labels are boxes, with masks or without."""

    def __init__(self, composer: Composer, hidden: float) -> None:
        self._composer, self._hidden = composer, hidden

    def cut(self, image: np.ndarray, entry: Mapping[str, Any]) -> list[CutOut]:
        found = source_label(entry, image.shape[:2]).annotation
        return cut_objects(image, found, self._composer.indices, self._composer.min_area)

    def relabelled(
        self, image: np.ndarray, entry: Mapping[str, Any], placed: Sequence[Placed], numbers: np.ndarray
    ) -> dict[str, Any]:
        found = source_label(entry, image.shape[:2]).annotation
        return dict(instances_of_picture=with_objects(found, placed, numbers, self._hidden))


_KINDS: dict[tuple[str, ...], Any] = {('segmentation',): _Maps, ('instances',): _Objects}


def composer_of(
    settings: CreationSettings, tasks: Sequence[str], dataset: Any
) -> Callable[[Sample, Mapping[str, Any], np.ndarray], Composed] | None:
    """What pastes into the source image of a sample, by its seed; None without ``compose``.

    It takes the sample, its annotation entry and its image, and gives the picture and an entry whose label map or
    objects are those of the picture; with 'seams' among the levels it says where these are, bool (H, W).

    Args:
        settings (CreationSettings): ``compose`` holds the options of :class:`Composer`, ``hidden`` of
            :func:`with_objects` and ``seam``, the width on either side of an outline in pixels.
        tasks (Sequence[str]): Kinds of labels that are stored.
        dataset: Of the source images.

    Raises:
        ValueError: Labels that are neither label maps nor objects, an option out of range, a class that the data set
            does not have, or a level of seams without things.
    """
    seams = isinstance(settings.T, Mapping) and SEAMS in settings.T
    if settings.compose is None and seams:
        raise UserError(
            f'creation.T gives a level of {SEAMS!r}, the borders of things that creation.compose pastes, and that is '
            'not set: set it, or leave the level out'
        )
    if settings.compose is None:
        return None
    if tuple(tasks) not in _KINDS:
        raise UserError(
            f'creation.compose pastes with label maps, boxes or masks, but {"+".join(tasks)} labels are stored: leave '
            'it out'
        )
    composer, hidden, seam = _options(settings.compose)
    composer.know(dataset.metainfo.get('classes'))
    kind, sources = _KINDS[tuple(tasks)](composer, hidden), source_indices(dataset)
    things = Kept(_KEPT)

    def cut(indices: Sequence[int]) -> Iterator[list[CutOut]]:
        return (kind.cut(read_source(dataset, i, settings), source_entry(dataset, i)) for i in indices)

    def cuts(rng: np.random.Generator) -> Iterator[list[CutOut]]:
        for index in rng.choice(sources, size=DONORS):
            with suppress(OSError):  # one that cannot be read is named as a source
                yield from things.get([int(index)], cut)

    def compose(sample: Sample, entry: Mapping[str, Any], image: np.ndarray) -> Composed:
        rng = np.random.default_rng(stable_seed(sample.seed, 'compose'))
        placed = composer.placed(cuts(rng), image.shape[:2], rng)
        picture = image.copy()
        numbers = paste_all(picture, placed)
        made = dict(entry, **kind.relabelled(image, entry, placed, numbers))
        if seams:
            made[SEAMS] = seams_of(numbers, seam)
        return picture, made

    return compose


def seams_of(numbers: np.ndarray, width: int) -> np.ndarray:
    """Where a pixel of another thing, or of none, is no farther than ``width``; bool (H, W), as ``numbers``."""
    kernel = np.ones((2 * width + 1,) * 2, np.uint8)
    border = cv2.BORDER_REPLICATE
    return cv2.dilate(numbers, kernel, borderType=border) != cv2.erode(numbers, kernel, borderType=border)


def _options(compose: Mapping[str, Any]) -> tuple[Composer, float, int]:
    options = dict(compose)
    hidden, seam = options.pop('hidden', 0.8), options.pop('seam', 3)
    if not is_number(hidden, 0, 1):
        raise UserError(f'creation.compose.hidden = {hidden!r} must be a share of an object, from 0 to 1')
    check_whole('creation.compose.seam', seam)
    try:
        return Composer(**options), hidden, seam
    except TypeError as error:
        raise UserError(f'creation.compose = {compose!r}: {error}') from error
