"""Cross-attention maps: where in the image each token of the condition is looked for (VPD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention


def attention_layers(unet: UNet2DConditionModel, latent_stride: int) -> dict[int, list[str]]:
    """The cross-attention layers whose maps VPD appends to the features, by stride.

    Those of decoder and encoder, in this order. The middle block is left out, and so is the stride
    of the latents, where a map would be as large as the features and the attention is the most
    expensive (VPD, vpd/models.py: at most half the latents' side).

    Args:
        unet (UNet2DConditionModel): The denoiser.
        latent_stride (int): Image pixels per latent element (8 for Stable Diffusion).

    Returns:
        dict[int, list[str]]: Image pixels per element of the map -> module paths.
    """
    from diffusers.models.attention_processor import Attention

    found: dict[int, list[str]] = {}
    deepest = len(unet.down_blocks) - 1
    for kind, blocks in (('up_blocks', unet.up_blocks), ('down_blocks', unet.down_blocks)):
        for i, block in enumerate(blocks):
            # A block's attention comes before the sampler that ends it.
            stride = latent_stride * 2 ** (i if kind == 'down_blocks' else deepest - i)
            if stride > latent_stride and getattr(block, 'has_cross_attention', False):
                found.setdefault(stride, []).extend(
                    f'{kind}.{i}.{name}'
                    for name, module in block.named_modules()
                    if isinstance(module, Attention) and module.is_cross_attention
                )
    return found


def attention_probabilities(layer: Attention, states: Tensor, context: Tensor) -> Tensor:
    """What a cross-attention layer weighs the tokens by, averaged over its heads.

    Args:
        layer (Attention): Of a U-Net.
        states (Tensor): Its pixels, shape (N, h * w, c).
        context (Tensor): Embeddings of the condition, shape (N, L, C).

    Returns:
        Tensor: Shape (N, h * w, L), from 0 to 1; sums to one over the tokens.
    """
    if layer.norm_cross:
        context = layer.norm_encoder_hidden_states(context)
    query = layer.head_to_batch_dim(layer.to_q(states))
    key = layer.head_to_batch_dim(layer.to_k(context))
    scores = layer.get_attention_scores(query, key)
    return scores.unflatten(0, (len(states), layer.heads)).mean(1)


def mean_attention(maps: Mapping[str, Tensor], layers: Sequence[str], size: tuple[int, int]) -> Tensor:
    """One attention map per token of several layers of the same stride.

    Args:
        maps (Mapping[str, Tensor]): What :func:`attention_probabilities` gave, by module path.
        layers (Sequence[str]): The layers to average.
        size (tuple[int, int]): Height and width of the U-Net's maps at this stride.

    Returns:
        Tensor: Shape (N, L, h, w).
    """
    mean = torch.stack([maps[name] for name in layers]).mean(0)
    return mean.transpose(1, 2).unflatten(2, tuple(size))
