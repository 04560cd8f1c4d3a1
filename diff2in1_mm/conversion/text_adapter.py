"""VPD's text adapter, folded into the embeddings that it adapts."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.errors import UserError


@torch.no_grad()
def fold_text_adapter(texts: Tensor, gamma: Tensor, adapter: Mapping[str, Tensor]) -> Tensor:
    """``c + gamma * MLP(c)`` (Zhao et al. 2023, eq. 6), once instead of in every forward.

    Args:
        texts (Tensor): Embeddings of the classes, shape (L, C).
        gamma (Tensor): Weight of the adaptation, shape (C, ).
        adapter (Mapping[str, Tensor]): ``fc.0`` and ``fc.2`` of VPD's ``TextAdapter``.

    Returns:
        Tensor: Shape (L, C), float32.

    Raises:
        ValueError: Weights are missing, or their shapes do not belong together.
    """
    names = [f'fc.{layer}.{kind}' for layer in (0, 2) for kind in ('weight', 'bias')]
    missing = [name for name in names if name not in adapter]
    if missing:
        raise UserError(f'the text adapter lacks {missing[0]!r}: the file is incomplete, fetch it again')
    weight_in, bias_in, weight_out, bias_out = (adapter[name].float() for name in names)
    channels = texts.shape[-1]
    if (
        texts.ndim != 2
        or gamma.shape != (channels,)
        or weight_in.shape[1] != channels
        or weight_out.shape != (channels, weight_in.shape[0])
    ):
        raise UserError(
            f'the text adapter {tuple(weight_in.shape)}, {tuple(weight_out.shape)} and gamma {tuple(gamma.shape)} do '
            f'not fit class embeddings {tuple(texts.shape)}: the checkpoint is not one of VPD'
        )
    texts = texts.float()
    hidden = F.gelu(F.linear(texts, weight_in, bias_in))
    return texts + gamma.float() * F.linear(hidden, weight_out, bias_out)
