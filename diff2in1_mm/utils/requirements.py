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
#: the same of the fork
ONEDL_MMCV_INSTALL = (
    "pip install 'setuptools>=80' wheel ninja && "
    "CFLAGS=-g0 pip install --no-build-isolation --no-binary onedl-mmcv 'onedl-mmcv==2.3.6'"
)


class Requirement(NamedTuple):
    """A library with the versions that work.

    Attributes:
        module: Name it is imported by.
        distributions: Names it is installed by: of the stock library first, then of its forks and other builds.
        specifier: Supported versions (PEP 440), whichever distribution brings them.
        optional: Whether the package works without it.
        installs: Commands that install a distribution where a plain ``pip install`` does not do, by its name.
    """

    module: str
    distributions: tuple[str, ...]
    specifier: str
    optional: bool = False
    installs: dict[str, str] = {}

    @property
    def distribution(self) -> str:
        """The distribution to speak of: the one that is installed, else the one that fits the others that are."""
        return next(iter(_installed(self.distributions)), None) or next(
            (name for name in self.distributions if uses_forks() and name.startswith(_FORK)), self.distributions[0]
        )

    @property
    def command(self) -> str:
        """The command that installs a supported version."""
        name = self.distribution
        return self.installs.get(name, f"pip install '{name}{self.specifier}'")


_FORK = 'onedl-'  # OpenMMLab's living forks, under the same import names

REQUIREMENTS = (
    Requirement('numpy', ('numpy',), '>=1.26'),
    Requirement('torch', ('torch',), '>=2.1'),
    Requirement('mmengine', ('mmengine', 'onedl-mmengine', 'mmengine-lite'), '>=0.10,<0.11'),
    Requirement(
        'mmcv',
        ('mmcv', 'onedl-mmcv', 'mmcv-lite', 'mmcv-full'),
        '>=2.0.0,<2.4',
        installs={'mmcv': MMCV_INSTALL, 'onedl-mmcv': ONEDL_MMCV_INSTALL},
    ),
    Requirement('mmseg', ('mmsegmentation', 'onedl-mmsegmentation'), '>=1.2.0,<1.5', optional=True),
    Requirement('mmdet', ('mmdet', 'onedl-mmdetection'), '>=3.2.0,<3.6', optional=True),
    Requirement('diffusers', ('diffusers',), '>=0.31'),
    Requirement('transformers', ('transformers',), '>=4.46'),
)
LIBRARIES = {requirement.module: requirement for requirement in REQUIREMENTS}


class Pairing(NamedTuple):
    """Versions of a library that need others of a second one.

    Attributes:
        module: The library, by its import name.
        since: Its first version of this kind.
        other: The second library, by its import name.
        specifier: Versions of the second one that fit.
    """

    module: str
    since: str
    other: str
    specifier: str


PAIRINGS = (
    Pairing('numpy', '2', 'torch', '>=2.3'),  # earlier builds of torch give and take no arrays of numpy 2
    Pairing('transformers', '5', 'torch', '>=2.4'),  # with an earlier torch it has no models
    Pairing('mmcv', '2.2', 'mmseg', '>=1.3'),  # MMSegmentation and MMDetection assert it
    Pairing('mmcv', '2.2', 'mmdet', '>=3.4'),
)


def is_installed(module: str) -> bool:
    """Whether ``module`` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # hidden by a finder, or half torn out of sys.modules
        return False


def uses_forks() -> bool:
    """Whether OpenMMLab's living forks are installed here, so that advice has to name them."""
    return bool(_installed([_FORK + 'mmengine']))


def _installed(distributions: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Versions of those distributions that are installed, by their names."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def installed_version(requirement: Requirement) -> str | None:
    """Version of a library, None if it is not there.

    A library that is on the path without being installed has no metadata: then it is imported.
    """
    if not is_installed(requirement.module):
        return None
    versions = list(_installed(requirement.distributions).values())
    return versions[0] if versions else getattr(importlib.import_module(requirement.module), '__version__', '0')


def problem_of(requirement: Requirement) -> str | None:
    """One sentence that says what is wrong with a library and what to install, or None."""
    version = installed_version(requirement)
    name, needs = requirement.distribution, f'diff2in1_mm needs {requirement.distribution}{requirement.specifier}'
    if version is None:
        return None if requirement.optional else f'{needs}, which is not installed: run `{requirement.command}`.'
    brought = list(_installed(requirement.distributions))
    if len(brought) > 1:
        keep = next((fork for fork in brought if uses_forks() and fork.startswith(_FORK)), name)
        return (
            f'{" and ".join(brought)} are installed over each other, as all of them bring the import name '
            f'{requirement.module}, so that its files are a mixture: run `pip uninstall -y {" ".join(brought)}`, then '
            f'`{requirement.installs.get(keep, f"pip install {keep!r}")}`.'
        )
    if not SpecifierSet(requirement.specifier).contains(version, prereleases=True):
        return f'{needs} but found {name} {version}: run `{requirement.command}`.'
    return None


def problem_of_pairing(pairing: Pairing) -> str | None:
    """One sentence where two libraries, each supported, do not work together, or None."""
    library, other = LIBRARIES[pairing.module], LIBRARIES[pairing.other]
    version, found = installed_version(library), installed_version(other)
    if version is None or found is None or not SpecifierSet('>=' + pairing.since).contains(version, prereleases=True):
        return None
    if SpecifierSet(pairing.specifier).contains(found, prereleases=True):
        return None
    name = library.distribution
    command = library.installs.get(name, f"pip install '{name}<{pairing.since}'")
    return (
        f'{name} {version} needs {other.distribution}{pairing.specifier} but found {other.distribution} {found}: '
        f'run `{command}`.'
    )


def check_versions() -> None:
    """Checks every library of :data:`REQUIREMENTS`, and which of them need each other.

    Raises:
        ImportError: One sentence per library that is missing or unsupported.
    """
    problems = [p for p in map(problem_of, REQUIREMENTS) if p] or [p for p in map(problem_of_pairing, PAIRINGS) if p]
    if problems:
        raise ImportError('\n'.join(problems))
