"""What the package runs on, and the sentence a user gets when something else is installed.

The table :data:`REQUIREMENTS` is the one place where supported versions are written down:
a test holds ``setup.py`` to it. Only the standard library and ``packaging`` are imported here, so
that the check can speak before anything that it checks fails in its own words.
"""

import importlib
import importlib.metadata
import importlib.util
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

#: builds mmcv with its operators: without isolation, since its setup needs the installed torch
MMCV_INSTALL = (
    "pip install 'setuptools<80' wheel ninja && "
    "CFLAGS=-g0 pip install --no-build-isolation --no-binary mmcv 'mmcv==2.1.0'"
)


class Requirement(NamedTuple):
    """A library with the versions that work.

    Attributes:
        module: Name it is imported by.
        distribution: Name it is installed by.
        specifier: Supported versions (PEP 440).
        optional: Whether the package works without it.
        install: Command that installs it; None for a plain ``pip install``.
    """

    module: str
    distribution: str
    specifier: str
    optional: bool = False
    install: str | None = None

    @property
    def command(self) -> str:
        """The command that installs a supported version."""
        return self.install or f"pip install '{self.distribution}{self.specifier}'"


REQUIREMENTS = (
    Requirement('torch', 'torch', '>=2.6'),
    Requirement('mmengine', 'mmengine', '>=0.10.5,<0.11'),
    Requirement('mmcv', 'mmcv', '>=2.0.0,<2.2.0', install=MMCV_INSTALL),
    Requirement('mmseg', 'mmsegmentation', '>=1.2.0,<1.3', optional=True),
    Requirement('mmdet', 'mmdet', '>=3.2.0,<3.4', optional=True),
    Requirement('diffusers', 'diffusers', '>=0.42'),
    Requirement('transformers', 'transformers', '>=5.0'),
)


#: other distributions that bring the same import name
_RIVALS = {
    'mmengine': ('onedl-mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmseg': ('onedl-mmsegmentation',),
    'mmdet': ('onedl-mmdetection',),
}


def is_installed(module: str) -> bool:
    """Whether ``module`` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # hidden by a finder, or half torn out of sys.modules
        return False


def installed_version(requirement: Requirement) -> str | None:
    """Version of a library, None if it is not there.

    A library that is on the path without being installed has no metadata: then it is imported.
    """
    if not is_installed(requirement.module):
        return None
    try:
        return importlib.metadata.version(requirement.distribution)
    except importlib.metadata.PackageNotFoundError:
        return getattr(importlib.import_module(requirement.module), '__version__', '0')


def _has_metadata(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def problem_of(requirement: Requirement) -> str | None:
    """One sentence that says what is wrong with a library and what to install, or None."""
    version = installed_version(requirement)
    name = requirement.distribution
    rivals = [rival for rival in _RIVALS.get(requirement.module, ()) if _has_metadata(rival)]
    if version is not None and rivals and _has_metadata(name):
        both = ' '.join([name, *rivals])
        return (
            f'{" and ".join([name, *rivals])} are installed over each other, as all of them bring the import name '
            f'{requirement.module}, so that its files are a mixture: run `pip uninstall -y {both}`, then '
            f'`{requirement.command}`.'
        )
    if version is None:
        if requirement.optional:
            return None
        return f'diff2in1_mm needs {name}{requirement.specifier}, which is not installed: run `{requirement.command}`.'
    if not SpecifierSet(requirement.specifier).contains(version, prereleases=True):
        return (
            f'diff2in1_mm needs {name}{requirement.specifier} but found {name} {version}: run `{requirement.command}`.'
            if not rivals
            else f'diff2in1_mm needs {name}{requirement.specifier}, but the {requirement.module} found is {version} '
            f'of {rivals[0]}, which must go first, as both bring the same import name: run '
            f'`pip uninstall -y {rivals[0]}`, then `{requirement.command}`.'
        )
    return None


def problem_of_ops() -> str | None:
    """One sentence if mmcv lacks its compiled operators or they do not load, or None."""
    if not is_installed('mmcv._ext'):
        return (
            'diff2in1_mm needs mmcv with its compiled operators, and the mmcv found here has '
            'none (mmcv-lite, or built where torch could not be seen): run '
            f'`pip uninstall -y mmcv mmcv-lite; {MMCV_INSTALL}`.'
        )
    torch = importlib.import_module('torch')  # the operators link against torch's libraries
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        return (
            f'The compiled operators of mmcv do not load with torch {torch.__version__} '
            f'({str(error).splitlines()[0]}), as they were built for another torch: run '
            f'`pip uninstall -y mmcv; {MMCV_INSTALL} --no-cache-dir`.'
        )
    return None


def check_versions() -> None:
    """Checks every library of :data:`REQUIREMENTS`.

    Raises:
        ImportError: One sentence per library that is missing, unsupported or without operators.
    """
    problems: list[str] = [p for p in map(problem_of, REQUIREMENTS) if p]
    if not problems:
        problems = [p for p in [problem_of_ops()] if p]
    if problems:
        raise ImportError('\n'.join(problems))
