"""Which images are given, and where their pictures go."""

import glob
import os
import os.path as osp
from collections.abc import Sequence

from ..diffusion.conditions.path_table import IMAGE_SUFFIXES
from ..utils.errors import MissingFileError, UserError

__all__ = ['find_images', 'output_paths']


def find_images(pattern: str) -> list[str]:
    """Image files that a file, folder or glob names, sorted.

    Raises:
        FileNotFoundError: There are none.
    """
    if osp.isfile(pattern):
        return [pattern]
    if osp.isdir(pattern):
        names = sorted(name for name in os.listdir(pattern) if _is_image(name))
        if not names:
            raise MissingFileError(
                f'the folder {pattern} holds no images '
                f'({", ".join(IMAGE_SUFFIXES)}); for folders inside it give a '
                f"glob such as '{osp.join(pattern, '**', '*.jpg')}'"
            )
        return [osp.join(pattern, name) for name in names]
    found = sorted(path for path in glob.glob(pattern, recursive=True) if osp.isfile(path) and _is_image(path))
    if not found:
        raise MissingFileError(
            f'there is no image, folder or match of a glob at {pattern!r}: '
            'give the path of an image file or of a folder of images'
        )
    return found


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES) and not osp.basename(path).startswith('.')


def output_paths(images: Sequence[str], folder: str) -> dict[str, str]:
    """Where each image's picture goes, without suffix: no two at the same place.

    Raises:
        ValueError: A picture would replace one of the images.
    """
    root = osp.commonpath([osp.dirname(osp.abspath(path)) for path in images])
    relative = {path: osp.relpath(osp.abspath(path), root) for path in images}
    stems = [osp.splitext(name)[0] for name in relative.values()]
    paths = {
        path: osp.join(folder, stem if stems.count(stem) == 1 else relative[path]) for path, stem in zip(images, stems)
    }
    inputs = {osp.realpath(path) for path in images}
    for path in paths.values():
        if osp.realpath(f'{path}.png') in inputs:
            raise UserError(
                f'{path}.png is one of the images and would be replaced by its picture: give another --out-dir'
            )
    return paths
