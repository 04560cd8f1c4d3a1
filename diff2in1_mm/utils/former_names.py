"""Modules under the names that they had before December 2026, for code that imports them.

``from diff2in1_mm.engine import SelfImprovingHook`` goes on working, with a warning that says the new name.
"""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ['install']

_PACKAGE = __package__.partition('.')[0]
#: former module -> where its names are now
_NOW = {
    'engine': ('self_improving', 'self_improving.hook', 'hooks', 'pretraining', 'utils.compat'),
    'engine.launch': ('launch.config', 'launch.processes', 'preflight.inputs', 'utils.configs'),
    'engine.self_improving_hook': ('self_improving.hook',),
    'engine.theta': ('self_improving.theta_c',),
    'engine.summary': ('hooks.summary',),
    'synthesis': ('creation', 'store', 'preflight.creation', 'tasks.label_values'),
    'synthesis.store': ('store.store', 'store.records'),
    'synthesis.settings': ('creation.settings',),
    'synthesis.partial_noise': ('creation.generator',),
    'paths': ('utils.resources',),
}


class _FormerNames(MetaPathFinder, Loader):
    """Finds the modules of the table, whose names are looked up where they are now."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        former = fullname.removeprefix(f'{_PACKAGE}.')
        if former == fullname or former not in _NOW:
            return None
        return ModuleSpec(fullname, self, is_package=any(name.startswith(f'{former}.') for name in _NOW))

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        rooms = _NOW[module.__name__.removeprefix(f'{_PACKAGE}.')]

        def look_up(name: str) -> Any:
            for room in () if name.startswith('__') else rooms:  # `inspect` asks every module for __file__
                found = importlib.import_module(f'{_PACKAGE}.{room}')
                if hasattr(found, name):
                    warnings.warn(f'{module.__name__}.{name} is now {_PACKAGE}.{room}.{name}', FutureWarning, 2)
                    return getattr(found, name)
            raise AttributeError(f'{module.__name__} has no {name!r}: see docs/architecture.md for where things are')

        vars(module)['__getattr__'] = look_up


def install() -> None:
    """Let Python find modules by their former names; a second call changes nothing."""
    if not any(isinstance(finder, _FormerNames) for finder in sys.meta_path):
        # first: folders that a former version left behind would count as empty packages
        sys.meta_path.insert(0, _FormerNames())
