"""Source images with things of others pasted in, before they are noised."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..datasets.pasting import DONORS, Composer
from ..datasets.source_images import load_image, turns_images
from ..tasks.label_values import to_raw_labels
from ..tasks.segmentation import read_as, source_map
from ..utils.errors import UserError
from ..utils.randomness import stable_seed
from .plan import Sample, source_entry, source_indices
from .settings import CreationSettings

__all__ = ['composer_of', 'read_source']

Composed = tuple[np.ndarray, dict[str, Any]]


def read_source(dataset: Any, index: int, settings: CreationSettings) -> np.ndarray:
    """A source image at the size in which it is varied, uint8 (H, W, 3), RGB.

    Raises:
        OSError: Its file is missing or is no image.
    """
    entry = source_entry(dataset, index)
    turn = turns_images(dataset, index)
    return load_image(entry['img_path'], settings.scale, settings.keep_ratio, turn, entry['backend_args'])


def composer_of(
    settings: CreationSettings, tasks: Sequence[str], dataset: Any
) -> Callable[[Sample, Mapping[str, Any], np.ndarray], Composed] | None:
    """What pastes into the source image of a sample, by its seed; None without ``compose``.

    It takes the sample, its annotation entry and its image, and gives the picture and an entry whose label map is that
    of the picture.

    Args:
        settings (CreationSettings): ``compose`` holds the options of :class:`Composer`.
        tasks (Sequence[str]): Kinds of labels that are stored.
        dataset: Of the source images.

    Raises:
        ValueError: Labels that are no label maps, an option out of range, or a class that the data set does not have.
    """
    if settings.compose is None:
        return None
    if tuple(tasks) != ('segmentation',):
        raise UserError(
            f'creation.compose pastes with label maps, but {"+".join(tasks)} labels are stored: leave it out'
        )
    try:
        composer = Composer(**settings.compose)
    except TypeError as error:
        raise UserError(f'creation.compose = {settings.compose!r}: {error}') from error
    composer.know(dataset.metainfo.get('classes'))
    sources = source_indices(dataset)

    def donors(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in rng.choice(sources, size=DONORS):
            with suppress(OSError):  # one that cannot be read is named as a source
                image, entry = read_source(dataset, int(index), settings), source_entry(dataset, int(index))
                yield image, read_as(entry)[source_map(entry, image.shape[:2]).annotation]

    def compose(sample: Sample, entry: Mapping[str, Any], image: np.ndarray) -> Composed:
        rng = np.random.default_rng(stable_seed(sample.seed, 'compose'))
        labels = read_as(entry)[source_map(entry, image.shape[:2]).annotation]
        image, labels = composer.compose(image, labels, donors(rng), rng)
        raw = to_raw_labels(labels, bool(entry.get('reduce_zero_label')), entry.get('label_map'))
        return image, dict(entry, label_map_of_picture=raw)

    return compose
