"""Keys of the released Diff-2-in-1 aggregator ("SNmodule"), in ours."""

from collections.abc import Mapping

from torch import Tensor

#: Layers of the released module that take no part in its forward pass.
UNUSED = ('transfromer_decoder.', 'mlp.', 'to_k.', 'to_q.')  # the first spelt as there

# The longer name first where one contains another.
_PARTS = (
    ('highest_feature_mix_conv.', 'mix_highest.'),
    ('high_feature_mix_conv.', 'mix_high.'),
    ('mid_feature_mix_conv.', 'mix_mid.'),
    ('highest_feature_conv.0.', 'highest.'),
    ('high_feature_conv.0.', 'high.'),
    ('mid_feature_conv.0.', 'mid.'),
    ('low_feature_conv.0.', 'low.'),
    ('bn_up', 'norm_up'),
    ('conv_up', 'up'),
)
_INSIDE = (
    ('stored_mean1', 'norm1.running_mean'),
    ('stored_var1', 'norm1.running_var'),
    ('stored_mean2', 'norm2.running_mean'),
    ('stored_var2', 'norm2.running_var'),
    ('conv_sc.', 'shortcut.'),
    ('.u0', '.left'),
    ('.sv0', '.sigma'),
)


def aggregator_key(key: str) -> str:
    """Our name of a key of the released module."""
    for theirs, ours in _PARTS:
        if key.startswith(theirs):
            key = ours + key[len(theirs) :]
            break
    for theirs, ours in _INSIDE:
        key = key.replace(theirs, ours)
    return key


def convert_aggregator(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A released state dict for :class:`DiffusionAggregator`.

    Args:
        state (Mapping): Of the released ``SNmodule``.

    Returns:
        tuple[dict, list[str]]: Our state dict, and the keys that are not used.
    """
    used = {key: value for key, value in state.items() if not key.startswith(UNUSED)}
    return ({aggregator_key(key): value for key, value in used.items()}, [key for key in state if key not in used])
