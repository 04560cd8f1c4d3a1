"""Marks for tests of what needs a later library than the package does, or operators of mmcv or torchvision."""

import importlib.metadata
import sys

import mmcv
import pytest
import torch
from packaging.version import Version

from diff2in1_mm.utils.operators import _StandIn, problem_of_operators
from diff2in1_mm.utils.requirements import LIBRARIES


def before(library: str, version: str) -> bool:
    """Whether the library that is installed is older."""
    return Version(importlib.metadata.version(library)) < Version(version)


def needs(library: str, version: str, lack: str):
    """Skips where the library is older; ``lack`` says what it then does not do."""
    return pytest.mark.skipif(before(library, version), reason=f'{library} before {version} {lack}')


needs_float16 = needs('torch', '2.4', 'does not compute in float16 on a CPU')
needs_flow_sigmas = needs('diffusers', '0.32', 'has no flow-matching solver of second order')
_WITHOUT = f'{LIBRARIES["mmcv"].distribution} {mmcv.__version__} has no operators here'
needs_operators = pytest.mark.skipif(
    isinstance(sys.modules['mmcv._ext'], _StandIn),
    reason=f"{_WITHOUT}: OpenMMLab's own tools import them before they import the package",
)
needs_detectors = pytest.mark.skipif(
    problem_of_operators() is not None, reason=f'{_WITHOUT}, and no torchvision has those for torch {torch.__version__}'
)


def lines_of_ours(stdout: str) -> list[str]:
    """What a process printed but for what OpenMMLab's forks print whenever they are imported."""
    return [line for line in stdout.splitlines() if not line.startswith('Could not import OneDL')]
