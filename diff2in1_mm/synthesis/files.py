"""Writing files so that a reader finds the old content or the new one, never a part."""
import os
from pathlib import Path
from typing import Union


def write_atomic(path: Union[str, Path], content: bytes) -> None:
    """Writes under a hidden temporary name in the same folder, flushes to the disk, renames.

    A writer killed on the way leaves ``.NAME.PID.tmp`` behind, see :func:`is_leftover`.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_leftover(name: str) -> bool:
    """Whether this file name is one of :func:`write_atomic`'s temporary ones."""
    return name.startswith('.') and name.endswith('.tmp')
