"""Diff-2-in-1 for OpenMMLab.

``import diff2in1_mm`` checks the versions of what it runs on and registers all modules in
MMEngine's root registries, where MMSegmentation and MMDetection both find them. It works with
only one of the two installed. ``docs/architecture.md`` says which room holds what.
"""

from .utils.requirements import check_versions

check_versions()  # before anything that an unsupported version would break in its own words

from .utils import compat, detector_repairs, operators, quiet_libraries  # noqa: E402

operators.stand_in_for_operators()
compat.allow_mmengine_checkpoints()
compat.import_optimizers_alone()
compat.let_mmengine_read_weights_only()
compat.let_configs_name_forks()
quiet_libraries.leave_image_processors_unannounced()
from . import (  # noqa: E402
    creation,
    datasets,
    diffusion,
    evaluation,
    hooks,
    models,
    preflight,
    pretraining,
    self_improving,
    store,
    tasks,
    visualization,
)
from .utils import former_names  # noqa: E402
from .utils.resources import config_path, find_config, tool_path  # noqa: E402
from .version import __version__  # noqa: E402

former_names.install()
detector_repairs.repair_detectors()  # last: rooms have imported MMDetection

__all__ = [
    '__version__',
    'config_path',
    'find_config',
    'tool_path',
    'creation',
    'datasets',
    'diffusion',
    'evaluation',
    'hooks',
    'models',
    'preflight',
    'pretraining',
    'self_improving',
    'store',
    'tasks',
    'visualization',
]
