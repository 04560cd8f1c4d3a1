"""Looking things up in configs."""

from mmengine.config import Config


def find_hook(cfg: Config, name: str) -> dict | None:
    """The settings of a custom hook, by its type."""
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, dict) and type_name(hook) == name:
            return hook
    return None


def type_name(node: dict) -> str:
    """Name of the class that a part of a config builds, without scope; '' where it says none.

    Configs of MMEngine's new style hold the class itself.
    """
    kind = node.get('type', '')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]
