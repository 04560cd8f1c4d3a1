"""Keys of the decoder of Bae et al., as the released Diff-2-in-1 code has it, in ours."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r'^conv2\.', 'bottleneck.'),
    (r'^out_conv_res8\.', 'coarse.'),
    (r'^out_conv_res4\.', 'refine.0.'),
    (r'^out_conv_res2\.', 'refine.1.'),
    (r'^out_conv_res1\.', 'refine.2.'),
    (r'^up(\d)\._net\.', lambda found: f'ups.{int(found[1]) - 1}.layers.'),
)


def convert_normal_decoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict for :class:`NormalDecoder`; every key is used."""
    converted = {}
    for key, value in state.items():
        for pattern, ours in _RULES:
            key = re.sub(pattern, ours, key)
        converted[key] = value
    return converted
