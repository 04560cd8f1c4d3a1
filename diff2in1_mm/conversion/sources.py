"""Which published model a state dict is: by its keys, never by the name of its file."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from torch import Tensor

from ..diffusion.loading.refusals import refuse_other_files
from ..utils.errors import UserError
from . import normals
from .converted import Converted
from .stable_diffusion import convert_stable_diffusion
from .vpd import convert_mmseg_depth, convert_vpd_depth, convert_vpd_segmentation


class Source(NamedTuple):
    """A kind of published checkpoint.

    Attributes:
        name: As a user calls it.
        marks: Beginnings of keys, all of which it has and no other kind before it in the list.
        convert: From a state dict; None for what :func:`convert` treats by itself.
    """

    name: str
    marks: tuple[str, ...]
    convert: Callable[[Mapping[str, Tensor]], Converted] | None = None


_AGGREGATOR = Source('the aggregator of Diff-2-in-1', normals.AGGREGATOR)
_DECODER = Source('the normal decoder of Diff-2-in-1', normals.DECODER)
_STABLE_DIFFUSION = Source('Stable Diffusion in the original layout', ('model.diffusion_model.',))
SOURCES = (
    _AGGREGATOR,
    _DECODER,
    Source(
        'VPD segmentation',
        ('unet.unet.diffusion_model.', 'encoder_vq.', 'neck.lateral_convs.', 'decode_head.conv_seg.'),
        convert_vpd_segmentation,
    ),
    Source('VPD depth', ('encoder.unet.unet.diffusion_model.', 'last_layer_depth.'), convert_vpd_depth),
    Source(
        "MMSegmentation's VPD depth",
        ('backbone.unet.unet.diffusion_model.', 'decode_head.depth_pred_layer.'),
        convert_mmseg_depth,
    ),
    _STABLE_DIFFUSION,
)


def recognise(state: Mapping[str, Tensor]) -> list[Source]:
    """The kinds that a state dict has all marks of; several only where files were joined."""
    return [source for source in SOURCES if all(any(key.startswith(mark) for key in state) for mark in source.marks)]


def convert(states: Mapping[str, Mapping[str, Tensor]], prediction_type: str | None = None) -> tuple[str, Converted]:
    """Published weights in our names.

    Args:
        states (Mapping[str, Mapping[str, Tensor]]): Name of each file -> its state dict.
        prediction_type (str | None): For Stable Diffusion of the 2.x family.

    Returns:
        tuple[str, Converted]: What it is, and the conversion.

    Raises:
        ValueError: Unknown, incomplete or contradictory files; one sentence says what is needed.
    """
    states = {name: _without_wrapper(state) for name, state in states.items()}
    kinds = {name: recognise(state) for name, state in states.items()}
    for name, found in kinds.items():
        if not found:
            _refuse_unknown(name, states[name])
    try:
        return _convert(states, kinds, prediction_type)
    except KeyError as error:
        raise UserError(
            f'{" and ".join(states)}: the weight {error} is missing; the file is incomplete, fetch it again'
        ) from error


def _convert(
    states: Mapping[str, Mapping[str, Tensor]], kinds: Mapping[str, list[Source]], prediction_type: str | None
) -> tuple[str, Converted]:
    every = [source for found in kinds.values() for source in found]
    if set(every) <= {_AGGREGATOR, _DECODER}:
        _refuse_two_of_a_kind(kinds)
        return 'normals of Diff-2-in-1', normals.convert_normals(_joined(states))
    if len(every) > 1:
        raise UserError(
            f'{" and ".join(kinds)} are {" and ".join(s.name for s in every)}: give one checkpoint at a time (only the '
            'two files of the normals of Diff-2-in-1 go together)'
        )
    ((name, state),) = states.items()
    if every == [_STABLE_DIFFUSION]:
        return _STABLE_DIFFUSION.name, convert_stable_diffusion(state, name, prediction_type)
    convert = every[0].convert
    assert convert is not None  # only the parts of Diff-2-in-1's normals have none
    return every[0].name, convert(state)


def _refuse_two_of_a_kind(kinds: Mapping[str, list[Source]]) -> None:
    """Of two epochs of a file one would win, and nobody could tell which."""
    for source in (_AGGREGATOR, _DECODER):
        files = [name for name, found in kinds.items() if source in found]
        if len(files) > 1:
            raise UserError(
                f'{files[0]} and {files[1]} both hold {source.name}, and only one can '
                'be converted: give one file of each'
            )


def _joined(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of all files, each from one of them."""
    joined: dict[str, Tensor] = {}
    holders: dict[str, str] = {}
    for name, state in states.items():
        for key, value in state.items():
            if key in joined:
                raise UserError(
                    f'{holders[key]} and {name} both hold the weight {key!r}: give '
                    'the two files as the released code saved them'
                )
            joined[key], holders[key] = value, name
    return joined


def _without_wrapper(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names as they were before DistributedDataParallel."""
    if all(key.startswith('module.') for key in state):
        return {key[len('module.') :]: value for key, value in state.items()}
    return state


def _refuse_unknown(name: str, state: Mapping[str, Tensor]) -> NoReturn:
    if any(key.endswith('frozen_fingerprint') for key in state):
        raise UserError(f'{name} is a checkpoint of diff2in1_mm already: tools/test.py takes it as it is')
    refuse_other_files(name, state)  # diffusion models of other families, LoRA
    known = ', '.join(source.name for source in SOURCES)
    raise UserError(
        f'{name} is of no kind that can be converted (its keys begin with '
        f'{", ".join(repr(key) for key in _beginnings(state))}); known are {known}'
    )


def _beginnings(state: Mapping[str, Tensor]) -> Sequence[str]:
    return sorted({key.split('.')[0] for key in state})[:4]
