"""Where the folders that come with the package are: ``configs``, ``tools`` and ``demo``.

Installed, they lie in ``diff2in1_mm/.mim``; in a checkout (also an editable install) beside the
package.
"""

import difflib
from pathlib import Path

from .errors import MissingFileError

PACKAGE = Path(__file__).resolve().parent.parent


def resources() -> Path:
    """The folder that holds ``configs``, ``tools`` and ``demo``."""
    shipped = PACKAGE / '.mim'
    return shipped if shipped.is_dir() else PACKAGE.parent


def config_path(name: str) -> str:
    """Absolute path of a config that comes with the package.

    A config of your own inherits from ours by::

        _base_ = __import__('diff2in1_mm').config_path('diff2in1_camvid.py')

    MMEngine evaluates ``_base_`` before any ``custom_imports``, so the expression imports the
    package itself; it works with every tool, MMSegmentation's and MMDetection's own included.
    (MMEngine's ``'package::...'`` is closed to packages outside OpenMMLab, and would build the
    types of an inherited config in a scope of that name, where MMSegmentation's are not found.)
    Several bases: ``_base_ = [__import__('diff2in1_mm').config_path(...), './mine.py']``.

    Args:
        name (str): Path below ``configs``, with or without ``.py``.

    Raises:
        FileNotFoundError: No such config; the sentence names those that come closest.
    """
    folder = resources() / 'configs'
    for candidate in (folder / name, folder / f'{name}.py'):
        if candidate.is_file():
            return str(candidate)
    known = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.py'))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known
    raise MissingFileError(
        f'diff2in1_mm has no config {name!r}; it has, for instance, {", ".join(near)} (in {folder}).'
    )


def find_config(config: str | Path) -> str:
    """Path of a config given on a command line: a file, or the name of one of the package's own.

    Raises:
        FileNotFoundError: It is neither.
    """
    if Path(config).is_file():
        return str(config)
    try:
        # 'configs/diff2in1_camvid.py' is what the documentation says inside a checkout
        return config_path(str(config).removeprefix('configs/'))
    except FileNotFoundError as error:
        raise MissingFileError(f'There is no file {str(config)!r}, and {error}') from None


def tool_path(name: str) -> str:
    """Absolute path of a script that comes with the package, as ``'tools/train.py'``.

    Raises:
        FileNotFoundError: No such script.
    """
    path = resources() / name
    if not path.is_file():
        raise MissingFileError(
            f'diff2in1_mm has no script {name!r} (looked in {resources()}); install the package again.'
        )
    return str(path)
