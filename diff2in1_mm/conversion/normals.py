"""The released normals of Diff-2-in-1: aggregator and decoder, two files."""

from collections.abc import Mapping

from torch import Tensor

from ..utils.errors import UserError
from .aggregator import UNUSED, convert_aggregator
from .converted import Converted, Keys
from .normal_decoder import convert_normal_decoder

#: Beginnings of keys by which the two are recognised.
AGGREGATOR = ('low_feature_conv.', 'highest_feature_mix_conv.')
DECODER = ('out_conv_res8.', 'up1._net.')

_DECODER_KEYS = ('conv2.', 'out_conv_res', 'up1.', 'up2.', 'up3.', 'up4.')


def convert_normals(state: Mapping[str, Tensor]) -> Converted:
    """Aggregator ("SNmodule") and decoder, for ``NormalEstimator``.

    Args:
        state (Mapping[str, Tensor]): Of both files together.

    Returns:
        Converted: Without a diffusion model: it is Stable Diffusion 1.5 as published.

    Raises:
        ValueError: One of the two is missing, or they do not belong together.
    """
    for marks, name, other in (
        (AGGREGATOR, 'aggregator', 'checkpoint_<epoch>.pth'),
        (DECODER, 'normal decoder', 'checkpoint_bae_<epoch>.pth'),
    ):
        if not all(any(key.startswith(mark) for key in state) for mark in marks):
            raise UserError(
                f'the {name} is missing: the released code saves it as a file of its own ({other}); give both files'
            )
    keys = Keys(state)
    keys.leave('layer that takes no part in the forward pass', *UNUSED)
    decoder = convert_normal_decoder(
        {key: value for part in _DECODER_KEYS for key, value in keys.take(part, part).items()}
    )
    aggregator, _ = convert_aggregator(keys.take(''))
    inputs, outputs = _aggregator_channels(aggregator)
    width, coarsest = decoder['bottleneck.weight'].shape[:2]
    if coarsest != outputs[-1]:
        raise UserError(
            f'the decoder takes {coarsest} channels, but the aggregator gives '
            f'{outputs[-1]}: the two files do not belong together'
        )
    return Converted(
        keys,
        base='diff2in1_nyu_normals.py',
        weights={
            **{f'neck.{key}': value for key, value in aggregator.items()},
            **{f'decode_head.decoder.{key}': value for key, value in decoder.items()},
        },
        model=dict(
            neck=dict(in_channels=inputs, out_channels=outputs), decode_head=dict(in_channels=outputs, channels=width)
        ),
    )


def _aggregator_channels(aggregator: dict[str, Tensor]) -> tuple[list[int], list[int]]:
    """Of the four inputs and the five outputs, finest first."""
    groups = [aggregator[f'{name}.weight'] for name in ('highest', 'high', 'mid', 'low')]
    transposed = [aggregator[f'up{i}.weight'].shape[1] for i in (2, 1)]
    return ([weight.shape[1] for weight in groups], transposed + [weight.shape[0] for weight in groups[1:]])
