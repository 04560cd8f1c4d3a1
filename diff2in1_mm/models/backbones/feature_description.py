"""What the features of a diffusion model depend on beside the pixels: kept ones are found where it is the same."""

import hashlib
from typing import Any

from torch import Tensor

from ...diffusion.condition import Condition

__all__ = ['described']

_VERSION = 2  # of what is kept


def described(backbone: Any, keep: str) -> dict[str, Any]:
    """All that features depend on beside the pixels.

    Args:
        backbone (DiffusionBackbone): Whose features they are.
        keep (str): 'maps' or 'latents'.

    Returns:
        dict: JSON types only.
    """
    model = backbone.diffusion
    found = dict(
        version=_VERSION,
        keep=keep,
        family=type(model).__name__,
        computed_in=str(model.dtype),
        input_mean=backbone.input_mean.flatten().tolist(),
        input_std=backbone.input_std.flatten().tolist(),
        input_bgr=backbone.input_bgr,
        image_scale=backbone.image_scale,
        keep_padding=backbone.keep_padding,
    )
    if keep == 'latents':
        # images are padded to the stride of the whole model
        return found | dict(
            autoencoder=model.digest(model.vae), deviation=backbone.sample_posterior, stride=model.stride
        )
    return found | dict(
        weights=model.digest(),
        taps=backbone.tap_names,
        levels=list(backbone.levels),
        join_levels=backbone.join_levels,
        scale_latents=backbone.scale_latents,
        attention_maps=backbone.attention_maps,
        massive_above=backbone.massive_above,
        condition=_digest(backbone._condition),
    )


def _digest(condition: Condition) -> str:
    digest = hashlib.sha256()

    def add(tensor: Tensor) -> Tensor:
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().double().cpu().numpy().tobytes())
        return tensor

    condition.apply(add)
    return digest.hexdigest()[:16]
