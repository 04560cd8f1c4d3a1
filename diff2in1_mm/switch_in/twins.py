"""Configs of the same model: they differ in data, schedule, classes or pretrained weights, and one is tried for all."""

import json
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from .built import WEIGHTS, loads_masks
from .python_text import part

__all__ = ['depth_of', 'model_key']

#: Settings that a trial does not depend on, since it draws weights and makes its own images and labels, by the part
#: of a model in which they stand; '': in any.
_FREE = {
    '': {*WEIGHTS, 'num_classes', 'num_things_classes', 'num_stuff_classes', 'loss_weight'},
    'data_preprocessor': {'mean', 'std', 'size'},
    'test_cfg': {'crop_size', 'stride'},
}
#: Settings of a backbone that change how it comes to its maps, and not which maps it gives.
_DEPTH = {
    'depth', 'depths', 'num_layers', 'groups', 'base_width', 'stem_channels', 'style', 'norm_cfg', 'norm_eval',
    'frozen_stages', 'drop_path_rate', 'with_cp',
}  # fmt: skip


def model_key(cfg: Config, with_depth: bool) -> str:
    """Equal for two configs whose models behave alike in a trial.

    Left out are weights to start from, numbers of classes and their weights (not whether there are any), weights of
    losses, how images are normalised and the sizes of crops. What remains is the whole model, and whether the data
    have masks.

    Args:
        cfg (Config): Of :func:`load`.
        with_depth (bool): False leaves out how deep and wide the backbone is inside too: it is replaced, and what
            its neck and heads take of it is the rest of the model.
    """
    model = dict(cfg.model)
    if not with_depth and isinstance(model.get('backbone'), Mapping):
        model['backbone'] = {key: value for key, value in model['backbone'].items() if key not in _DEPTH}
    shared = {name: _shared(value, _FREE[''] | _FREE.get(name, set())) for name, value in model.items()}
    return json.dumps([_shared(shared, _FREE['']), loads_masks(cfg)], sort_keys=True, default=str)


def _shared(value: Any, free: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): 'given' if key == 'class_weight' and isinstance(member, (list, tuple)) else _shared(member, free)
            for key, member in value.items()
            if key not in free
        }
    return [_shared(member, free) for member in value] if isinstance(value, (list, tuple)) else value


def depth_of(cfg: Config) -> tuple[int, int]:
    """Layers and groups of a config's backbone, by which the cheapest of several is found; 0 where it tells none.

    Args:
        cfg (Config): Of :func:`load`.
    """
    backbone = part(cfg.model, 'backbone')
    depth = backbone.get('depth') or backbone.get('depths') or backbone.get('num_layers') or 0
    layers = sum(depth) if isinstance(depth, (list, tuple)) else depth
    return layers if isinstance(layers, int) else 0, backbone.get('groups') or 1
