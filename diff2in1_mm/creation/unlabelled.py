"""Unlabelled pictures as samples of their own: nothing is made of them, the model labels them."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from ..datasets.image_folder import find_images
from ..datasets.source_images import load_image, turns_images
from ..store.records import MAX_COPIES
from ..utils.errors import UserError
from .settings import CreationSettings

__all__ = ['pictures_of', 'places_of', 'read_picture']


def pictures_of(settings: CreationSettings) -> list[str]:
    """Files of ``creation.unlabelled``, sorted; none where it is not set.

    Raises:
        FileNotFoundError: There is no such folder, or it holds no image.
    """
    if settings.unlabelled is None:
        return []
    return find_images(settings.unlabelled, 'creation.unlabelled takes a folder or glob of pictures')


def places_of(pictures: int, copies: Mapping[int, int]) -> list[tuple[int, int]]:
    """Numbers under which unlabelled pictures stand in the store: from the last copy of each source image downwards.

    A source lends the pictures its data set's pipeline, and no more. How many samples it has changes no place, so that
    a creation with a ``limit`` goes on without one.

    Args:
        pictures (int): How many.
        copies (Mapping[int, int]): Source image -> number of its samples.

    Returns:
        list[tuple[int, int]]: Source image and copy of each.

    Raises:
        ValueError: They are more than there is room for.
    """
    room = sum(MAX_COPIES - number for number in copies.values())
    if pictures > room:
        raise UserError(
            f'creation.unlabelled names {pictures} pictures, and {len(copies)} labelled images have room for {room} '
            'beside their samples: name fewer, such as a glob with some of them'
        )
    free = (
        (source, copy) for copy in reversed(range(MAX_COPIES)) for source in sorted(copies) if copy >= copies[source]
    )
    return list(islice(free, pictures))


def read_picture(path: str, dataset: Any, index: int, settings: CreationSettings) -> np.ndarray:
    """An unlabelled picture at the size in which images are stored, uint8 (H, W, 3), RGB.

    Args:
        path (str): Of its file.
        dataset: Of the source images.
        index (int): Of the source image whose pipeline will read it.
        settings (CreationSettings): ``scale`` and ``keep_ratio``.

    Raises:
        OSError: The file is missing or is no image.
    """
    return load_image(path, settings.scale, settings.keep_ratio, turns_images(dataset, index))
