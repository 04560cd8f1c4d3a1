"""Whether what a checkpoint has of a denoiser that was trained along has its place in a backbone."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from ...diffusion.trained import lora_factor
from ...utils.errors import UserError, some

_PARTS = ('denoiser.', 'text_adapter.')
_FACTOR = 'lora_factor'


def note_factor(backbone: Any, state: MutableMapping[str, Tensor], prefix: str) -> None:
    """Add to a ``state_dict`` what its matrices of LoRA do not say: alpha / rank.

    Args:
        backbone (DiffusionHolder): Whose state it is.
        state (MutableMapping): By name.
        prefix (str): Of the names.
    """
    found = lora_factor(backbone.perception.denoiser) if backbone.denoiser is not None else None
    if found is not None:
        state[prefix + _FACTOR] = torch.tensor(found[0])


def check_trained_state(backbone: Any, state: MutableMapping[str, Tensor], prefix: str) -> None:
    """Refuse a ``state_dict`` whose heads learned from a denoiser or texts that this backbone would not have.

    MMEngine would only warn, and go on with the pretrained ones. Weights that the checkpoint lacks begin as they are.

    Args:
        backbone (DiffusionHolder): Into which it is loaded.
        state (MutableMapping): By name; what :func:`note_factor` added is taken out.
        prefix (str): Of the names.

    Raises:
        ValueError: Trained weights have no place here, or LoRA counts otherwise; one sentence says what to set.
    """
    factor = state.pop(prefix + _FACTOR, None)
    parts = tuple(prefix + part for part in _PARTS)
    stored = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(parts)}
    lost = _without_place(stored, backbone)
    if lost:
        raise UserError(
            f'the checkpoint was trained with a part of the diffusion model ({some(lost)}) for which there is no place '
            "here: set `train` and `text_adapter` of `model.backbone` as the checkpoint's own config does, rank and "
            'targets of LoRA included'
        )
    own = lora_factor(backbone.perception.denoiser)
    if factor is None or own is None:
        return
    theirs, (here, rank) = float(factor), own
    if abs(theirs - here) > 1e-5 * here:
        raise UserError(
            f"the checkpoint's LoRA was trained with alpha / rank = {theirs:g}, and here it is {here:g}: set "
            f'model.backbone.train.alpha = {theirs * rank:g}'
        )


def _without_place(stored: Mapping[str, Tensor], backbone: nn.Module) -> list[str]:
    """Names of weights that a backbone lacks, but for those of a whole denoiser that no map here depends on."""
    own = {name: parameter.shape for name, parameter in backbone.named_parameters()}
    lost = [name for name, value in stored.items() if own.get(name) != value.shape]
    whole = any(_of_whole(name) and name not in lost for name in stored)
    return [name for name in lost if not (whole and _of_whole(name) and name not in own)]


def _of_whole(name: str) -> bool:
    """Whether a weight is the denoiser's own, not an adapter's."""
    return name.startswith('denoiser.') and '.lora_' not in name
