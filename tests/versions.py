"""Marks for tests of what needs a later library than the package does."""

import importlib.metadata

import pytest
from packaging.version import Version


def before(library: str, version: str) -> bool:
    """Whether the library that is installed is older."""
    return Version(importlib.metadata.version(library)) < Version(version)


def needs(library: str, version: str, lack: str):
    """Skips where the library is older; ``lack`` says what it then does not do."""
    return pytest.mark.skipif(before(library, version), reason=f'{library} before {version} {lack}')


needs_float16 = needs('torch', '2.4', 'does not compute in float16 on a CPU')
needs_flow_sigmas = needs('diffusers', '0.32', 'has no flow-matching solver of second order')


def lines_of_ours(stdout: str) -> list[str]:
    """What a process printed but for what OpenMMLab's forks print whenever they are imported."""
    return [line for line in stdout.splitlines() if not line.startswith('Could not import OneDL')]
