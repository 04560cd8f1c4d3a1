"""Marks for tests of what needs a later library than the package does, or mmcv with its operators."""

import importlib.metadata
import sys

import pytest
from packaging.version import Version

from diff2in1_mm.utils.operators import _StandIn


def before(library: str, version: str) -> bool:
    """Whether the library that is installed is older."""
    return Version(importlib.metadata.version(library)) < Version(version)


def needs(library: str, version: str, lack: str):
    """Skips where the library is older; ``lack`` says what it then does not do."""
    return pytest.mark.skipif(before(library, version), reason=f'{library} before {version} {lack}')


needs_float16 = needs('torch', '2.4', 'does not compute in float16 on a CPU')
needs_flow_sigmas = needs('diffusers', '0.32', 'has no flow-matching solver of second order')
needs_operators = pytest.mark.skipif(
    isinstance(sys.modules['mmcv._ext'], _StandIn),
    reason="mmcv without operators (mmcv-lite): OpenMMLab's own tools import them before they import the package",
)


def lines_of_ours(stdout: str) -> list[str]:
    """What a process printed but for what OpenMMLab's forks print whenever they are imported."""
    return [line for line in stdout.splitlines() if not line.startswith('Could not import OneDL')]
