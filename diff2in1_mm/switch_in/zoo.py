"""The configs that come with a library, by their families and models."""

import os.path as osp
import random
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from ..utils.errors import UserError
from .built import library_configs, load
from .twins import depth_of, model_key

__all__ = ['configs_of', 'family_of', 'groups_of', 'path_of']


def configs_of(library: str, per_family: int | None = None, seed: int = 0) -> list[str]:
    """Names (``'mmseg::fcn/fcn_r50...py'``) of the configs that come with a library.

    Args:
        library (str): 'mmseg' or 'mmdet'.
        per_family (int | None): Only so many of each folder, drawn by ``seed``. Default None: all.
        seed (int): Of the draw. Default 0.

    Raises:
        ValueError: The library is not installed, or an editable install without its configs.
    """
    folder = Path(library_configs(library))
    names = [path.relative_to(folder) for path in folder.rglob('*.py') if '_base_' not in path.parts]
    if not names:
        raise UserError(f'{folder} holds no configs: install {library} from its wheel.')
    families: dict[str, list[str]] = {}
    for name in sorted(names):
        families.setdefault(name.parts[0], []).append(f'{library}::{name.as_posix()}')
    dice = random.Random(seed)
    return [
        name
        for members in families.values()
        for name in (members if per_family is None else sorted(dice.sample(members, min(per_family, len(members)))))
    ]


def groups_of(names: Sequence[str]) -> list[list[str]]:
    """Configs whose models differ in the depth of their backbones at most, the shallowest first.

    Args:
        names (Sequence[str]): Of configs.

    Returns:
        list[list[str]]: First the largest group of each family, then the second of each, and so on.
    """
    groups: dict[str, list[tuple[tuple[int, int], str]]] = {}
    for name in names:
        try:
            cfg = load(path_of(name))
            key, depth = model_key(cfg, with_depth=False), depth_of(cfg)
        except Exception:  # what is wrong is said when it is tried
            key, depth = name, (0, 1)
        groups.setdefault(key, []).append((depth, name))
    families: dict[str, list[list[str]]] = {}
    for members in sorted(groups.values(), key=len, reverse=True):
        group = [name for _, name in sorted(members)]
        families.setdefault(family_of(group[0]), []).append(group)
    rounds = zip_longest(*families.values())
    return [group for one_of_each in rounds for group in one_of_each if group]


def path_of(name: str) -> str:
    """The file of a config. By its name, MMEngine would read all of its library's index for each.

    Args:
        name (str): ``'mmseg::...'`` or ``'mmdet::...'``.

    Raises:
        ValueError: The library is not installed.
    """
    library, _, config = name.partition('::')
    return osp.join(library_configs(library), config)


def family_of(name: str) -> str:
    """The folder of a config, in which its library keeps what belongs together.

    Args:
        name (str): ``'mmseg::...'`` or ``'mmdet::...'``.
    """
    return name.rpartition('::')[2].partition('/')[0]
