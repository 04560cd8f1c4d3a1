"""Parts that need MMSegmentation or MMDetection, where only one of them is installed.

A room whose module needs a library imports it only where the library is there, and otherwise
leaves a placeholder under the same name, so that a config that asks for it learns what to
install::

    if is_installed('mmseg'):
        from .decode_heads import DepthHead
    else:
        register_placeholders(MODELS, 'mmseg', 'DepthHead')
"""

from collections.abc import Iterator
from typing import Any

from mmengine.registry import Registry

from .errors import NotInstalledError
from .operators import problem_of_operators
from .requirements import LIBRARIES, is_installed

__all__ = ['is_a', 'is_installed', 'require', 'register_placeholders', 'check_config']


def require(module: str, what: str) -> None:
    """Stops where ``what`` needs a library that is not installed.

    Raises:
        ImportError: One sentence with the command that installs the library.
    """
    if is_installed(module):
        return
    library = LIBRARIES[module]
    raise NotInstalledError(f'{what} needs {library.distribution}, which is not installed: run `{library.command}`.')


def is_a(model: Any, library: str, *names: str) -> bool:
    """Whether an object is of one of these classes of a library, which need not be installed."""
    return any(kind.__name__ in names and kind.__module__.partition('.')[0] == library for kind in type(model).__mro__)


def register_placeholders(registry: Registry, module: str, *names: str) -> None:
    """Registers stand-ins that raise the sentence of :func:`require` when they are built."""
    for name in names:
        registry.register_module(name=name, module=_placeholder(module, name), force=True)


def _placeholder(module: str, name: str) -> type:

    def __init__(self, *args, **kwargs):
        require(module, name)

    return type(name, (), {'__init__': __init__, '__doc__': f'Needs {module}.'})


def scope_of(cfg: Any) -> str:
    """Which library a config is for.

    Args:
        cfg: The config.

    Returns:
        str: Its ``default_scope``; where it has none, as configs of MMEngine's new style, which
        name classes themselves, the library of its model. '' where nothing says it.
    """
    model = cfg.get('model') or {}
    scope = cfg.get('default_scope') or model.get('_scope_')
    if scope:
        return scope
    kind = model.get('type', '')
    names = [kind] if isinstance(kind, str) else [base.__module__ for base in kind.__mro__]
    return next((name for name in (n.partition('.')[0] for n in names) if name in LIBRARIES), '')


def check_config(cfg: Any) -> None:
    """Stops before any work where a config asks for a library that is not installed, or for operators.

    It looks at ``default_scope``, ``_scope_`` and types such as ``mmdet.FasterRCNN``.

    Args:
        cfg: The config, or any part of one.

    Raises:
        ImportError: One sentence with the command that installs the library.
    """
    for scope in sorted(set(_scopes(cfg))):
        if scope in LIBRARIES:
            require(scope, f'The config (it uses the scope {scope!r})')
        if scope == 'mmdet' and (problem := problem_of_operators()):
            raise NotInstalledError(f'The config (it uses the scope {scope!r}) needs operators: {problem}')


def _scopes(node: Any) -> Iterator[str]:
    if hasattr(node, 'items'):
        for key, value in node.items():
            if key in ('default_scope', '_scope_') and isinstance(value, str):
                yield value
            elif key == 'type' and isinstance(value, str):
                yield value.partition('.')[0]
            else:
                yield from _scopes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _scopes(value)
