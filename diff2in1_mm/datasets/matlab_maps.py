"""Maps in MATLAB files of PASCAL-Context and PASCAL-Part."""

from typing import Any, BinaryIO

import numpy as np

from ..utils.errors import UnusableFileError

__all__ = ['HUMAN_PARTS', 'changes', 'human_parts', 'label_map']

#: What the six parts of persons of multi-task papers (ASTMT, ATRC, InvPT) are, and 0, which is none.
HUMAN_PARTS = ('none', 'head', 'torso', 'upper arm', 'lower arm', 'upper leg', 'lower leg')
_PERSON = 15  # in PASCAL VOC
# PASCAL-Part's names without the side, an 'l' or 'r' before those that are there twice: 'llleg' is the left lower leg.
_HEAD = ('hair', 'head', 'ear', 'ebrow', 'eye', 'mouth', 'nose')
_PART_OF = {
    **dict.fromkeys(_HEAD, 1),
    **dict.fromkeys(('torso', 'neck'), 2),
    'uarm': 3,
    **dict.fromkeys(('larm', 'hand'), 4),
    'uleg': 5,
    **dict.fromkeys(('lleg', 'foot'), 6),
}


def label_map(file: BinaryIO, path: str) -> np.ndarray:
    """``LabelMap`` of a file of PASCAL-Context (Mottaghi et al., CVPR 2014): numbers of classes, (H, W).

    Args:
        file (BinaryIO): Its content.
        path (str): For messages.

    Raises:
        OSError: It cannot be read.
    """
    return np.asarray(_loaded(file, path, 'LabelMap'))


def changes(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another label, bool (H, W): boundaries of one pixel.

    Args:
        labels (ndarray): Integers (H, W).
    """
    found = np.zeros(labels.shape, bool)
    found[:-1] |= labels[1:] != labels[:-1]
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    return found


def human_parts(file: BinaryIO, path: str) -> np.ndarray:
    """Parts of the persons in a file of PASCAL-Part (Chen et al., CVPR 2014): indices of :data:`HUMAN_PARTS`.

    A later person lies over an earlier one. An image without a part has 255 everywhere, which counts nowhere.

    Args:
        file (BinaryIO): Its content.
        path (str): For messages.

    Returns:
        ndarray: uint8 (H, W).

    Raises:
        OSError: It cannot be read.
    """
    objects = np.atleast_1d(_loaded(file, path, 'anno').objects)
    found: np.ndarray | None = None
    for thing in objects:
        mask = np.asarray(thing.mask)
        found = np.zeros(mask.shape, np.uint8) if found is None else found
        if int(thing.class_ind) != _PERSON:
            continue
        for part in np.atleast_1d(thing.parts):
            found[np.asarray(part.mask) > 0] = _number(str(part.part_name), path)
    if found is None:
        raise UnusableFileError(f'{path} names no object, so the size of its image is not known')
    return found if found.any() else np.full_like(found, 255)


def _number(name: str, path: str) -> int:
    for candidate in (name, name[1:]):
        if candidate in _PART_OF:
            return _PART_OF[candidate]
    raise UnusableFileError(f'{path} has a part {name!r} of a person that PASCAL-Part does not know')


def _loaded(file: BinaryIO, path: str, name: str) -> Any:
    from scipy.io import loadmat  # not needed but for these files

    try:
        return loadmat(file, squeeze_me=True, struct_as_record=False)[name]
    except Exception as error:  # whatever a reader says of a damaged file
        raise UnusableFileError(f'{path} cannot be read as a MATLAB file with {name!r}') from error
