"""The small diffusion model of Rooms that comes with the package, under the name of a hub id."""

import hashlib
import json
import os.path as osp
from pathlib import Path

from ...utils.errors import UserError

#: What configs write as the ``diffusion`` of a backbone.
NAME = 'diff2in1_mm/rooms'
OWNER = 'diff2in1_mm'
FOLDER = Path(__file__).resolve().parents[2] / 'assets' / 'rooms'
CHECKSUMS = 'checksums.json'  # SHA-256 of every file of the model, by its path in the folder


def is_embedded(source: str) -> bool:
    """Whether a source names the model of the package, rather than a folder, hub id or file.

    Raises:
        ValueError: It names one that the package has not; no hub is asked for it.
    """
    if source.partition('/')[0] != OWNER or osp.exists(source):
        return False
    if source != NAME:
        raise UserError(f'there is no diffusion model {source!r}: the one that comes with the package is {NAME!r}')
    return True


def locate(source: str) -> str:
    """The folder of the embedded model for its name; any other source as it is.

    Args:
        source (str): Folder, hub id or file that a user wrote.

    Raises:
        ValueError: The package brings no model of this name, or a file of it is missing or damaged.
    """
    if not is_embedded(source):
        return source
    try:
        sums = json.loads((FOLDER / CHECKSUMS).read_text())
    except (OSError, ValueError):
        sums = {CHECKSUMS: ''}
    for name, wanted in sums.items():
        path = FOLDER / name
        if not path.is_file() or checksum(path) != wanted:
            raise UserError(
                f'{path} is {"damaged" if path.is_file() else "missing"}: restore it in a checkout with `git checkout '
                '-- diff2in1_mm/assets`, elsewhere by installing the package from a checkout again (`pip install '
                '--force-reinstall --no-deps PATH_TO_CHECKOUT`); `make rooms-model` trains the model again'
            )
    return str(FOLDER)


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
