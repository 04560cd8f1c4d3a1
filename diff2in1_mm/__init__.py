"""Diff-2-in-1 for OpenMMLab.

``import diff2in1_mm`` checks the versions of what it runs on and registers all modules in
MMEngine's root registries, where MMSegmentation and MMDetection both find them. It works with
only one of the two installed.
"""

from .quiet import image_processors_unannounced
from .versions import check_versions

check_versions()  # before anything that an unsupported version would break in its own words

with image_processors_unannounced():
    from . import (datasets, diffusion, engine, evaluation, models, synthesis,  # noqa: E402
                   visualization)
from .paths import config_path, find_config, tool_path  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = [
    '__version__', 'config_path', 'find_config', 'tool_path', 'datasets', 'diffusion', 'engine',
    'evaluation', 'models', 'synthesis', 'visualization'
]
