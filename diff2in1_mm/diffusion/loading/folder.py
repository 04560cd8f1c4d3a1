"""Parts of a diffusers folder or hub id: loaded as a whole or not at all.

diffusers and transformers only warn where weights are missing. The latter fills them up at random,
the former leaves them without storage, and what they compute then looks like a result.
"""

import json
from collections.abc import Container, Mapping
from typing import Any

from safetensors import SafetensorError
from torch import nn

from ...utils.compat import clip_tokenizer_class, from_pretrained
from ...utils.errors import UserError, first_line
from .refusals import refuse_adapters, refuse_quantised, refuse_scales

_NAMED = 2  # of the missing weights
_MEND = 'download it again, or give another model'


class IncompleteModel(UserError):
    """A part of a model lacks something, or does not fit its own configuration."""


def load_whole(kind: Any, source: str, part: str, **options) -> nn.Module:
    """Load one part of a model and look whether all of it was there.

    Args:
        kind (type): Class of diffusers or transformers.
        source (str): Folder or hub id in the diffusers layout.
        part (str): Its subfolder; '' for a source that is one part alone, as a ControlNet.
        **options: Of ``from_pretrained``.

    Returns:
        nn.Module: With every parameter from the source.

    Raises:
        IncompleteModel: Weights are missing, of another shape, or not readable; one sentence
            names the first of them and the mend.
        ValueError: They are quantised, hold an adapter, or are of another kind of text encoder.
        OSError: There is no such part, as the library says it.
    """
    config = _config(source, part, options.get('revision'))
    refuse_quantised(source, part, config)
    _check_text_encoder(kind, source, part, config)
    try:
        module, found = from_pretrained(
            kind,
            source,
            **(dict(subfolder=part) if part else {}),
            output_loading_info=True,
            # neither library says a wrong shape in one sentence, so it is read from the report
            ignore_mismatched_sizes=True,
            **options,
        )
    # transformers; diffusers makes an OSError of it. And a hole that diffusers 0.31 leaves.
    except (SafetensorError, NotImplementedError) as error:
        raise IncompleteModel(
            f'the weights of the {part or "network"} of {source} cannot be read ({first_line(error)}): {_MEND}'
        ) from error
    part = part or 'network'
    refuse_adapters(source, part, found['unexpected_keys'])
    refuse_scales(source, part, found['unexpected_keys'])
    try:
        _check_weights(module, source, part, found)
    except IncompleteModel:
        _check_class(kind, source, part, config)  # which explains it, if it is another one
        raise
    return module


def _check_weights(module: nn.Module, source: str, part: str, found: Mapping[str, Any]) -> None:
    """Name weights of another shape or missing ones, of what a library reports of loading."""
    shapes = {name: shapes for name, *shapes in found['mismatched_keys']}
    for name in _in_order(module, shapes):
        stored, expected = map(tuple, shapes[name])
        raise IncompleteModel(
            f'{source} does not fit its own config.json: {name!r} of its {part} '
            f'has the shape {stored} where {expected} is expected: {_MEND}'
        )
    # A shard that lacks what the index lists is in no report, but leaves a hole.
    holes = {name for name, weight in module.named_parameters() if weight.is_meta}
    missing = _in_order(module, holes.union(found['missing_keys']))
    if missing:
        named = ', '.join(map(repr, missing[:_NAMED])) + ', ...' * (len(missing) > _NAMED)
        total = sum(1 for _ in module.parameters())
        raise IncompleteModel(
            f'{source} is incomplete: its {part} lacks {len(missing)} of {total} weights ({named}): {_MEND}'
        )


def _check_text_encoder(kind: Any, source: str, part: str, config: Mapping[str, Any]) -> None:
    """Name one of another kind before it is made: what its config does not say would come from the defaults of the
    class, whose random weights may fill the memory."""
    expected, found = getattr(getattr(kind, 'config_class', None), 'model_type', ''), config.get('model_type', '')
    if not expected.startswith(found):  # 'clip' is said of 'clip_text_model', too
        raise _of_two_models(source, part, found, f'{kind.__name__} ({expected})')


def _check_class(kind: Any, source: str, part: str, config: Mapping[str, Any]) -> None:
    """Name a part of another class of diffusers. Weights come first: old folders name classes of before."""
    if config.get('_class_name', kind.__name__) != kind.__name__:
        raise _of_two_models(source, part, config['_class_name'], kind.__name__)


def _of_two_models(source: str, part: str, found: str, expected: str) -> IncompleteModel:
    return IncompleteModel(
        f'the {part} of {source} is of the kind {found}, where {expected} is expected: give the folder as it was '
        'published, with parts of one model'
    )


def _config(source: str, part: str, revision: str | None) -> dict[str, Any]:
    """What ``config.json`` of a part says; nothing where there is none, which loading it will say."""
    from transformers import PretrainedConfig

    try:
        return PretrainedConfig.get_config_dict(source, subfolder=part, revision=revision)[0]
    except OSError:
        return {}


def _in_order(module: nn.Module, names: Container[str]) -> list[str]:
    """Those of the names that are parameters or statistics; other buffers, such as position ids, are computed."""
    statistics = [name for name, _ in module.named_buffers() if '.running_' in name]
    return [name for name in [*(name for name, _ in module.named_parameters()), *statistics] if name in names]


def load_tokenizer(source: str, revision: str | None = None):
    """CLIP's tokenizer of a model.

    Args:
        source (str): Folder or hub id in the diffusers layout.
        revision (str | None): Commit, branch or tag of a hub id. Default None.

    Returns:
        CLIPTokenizer: It knows words.

    Raises:
        IncompleteModel: Its vocabulary is missing or damaged.
        OSError: There is none, as transformers says it.
    """
    try:
        tokenizer = clip_tokenizer_class().from_pretrained(source, subfolder='tokenizer', revision=revision)
    except json.JSONDecodeError as error:
        raise IncompleteModel(
            f'a file of the tokenizer of {source} is damaged ({first_line(error)}): {_MEND}'
        ) from error
    except (TypeError, ImportError):  # transformers 4, without its files
        tokenizer = None
    # Without its files transformers 5 makes one of special tokens alone: all texts look the same.
    if tokenizer is None or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise IncompleteModel(
            f'the tokenizer of {source} has no vocabulary (tokenizer.json, or vocab.json and merges.txt): {_MEND}'
        )
    return tokenizer
