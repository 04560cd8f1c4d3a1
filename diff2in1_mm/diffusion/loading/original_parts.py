"""Weights in the original (CompVis / Stability) key layout, as diffusers modules."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...utils.errors import UserError
from .original_layout import UNET, check_shapes, infer_original_config, original_text, shortcomings_named
from .parts import Parts

# What a model that only perceives does without, as VPD's checkpoints do.
_OPTIONAL = ('conv_norm_out.', 'conv_out.', 'decoder.', 'post_quant_conv.')

# Stable Diffusion's.
_SCHEDULE: dict[str, Any] = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule='scaled_linear',
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
)


def build_parts(
    state: Mapping[str, Tensor],
    name: str = 'the checkpoint',
    prediction_type: str = 'epsilon',
    complete: bool = True,
    dtype: torch.dtype | None = None,
) -> tuple[Parts, list[str]]:
    """Diffusers modules with the weights of a state dict.

    Nothing is copied that is in ``dtype``: the modules hold the given tensors, on their device.

    Args:
        state (Mapping[str, Tensor]): ``model.diffusion_model.*`` and ``first_stage_model.*``.
        name (str): Of the file, for messages. Default 'the checkpoint'.
        prediction_type (str): 'epsilon' or 'v_prediction'. Default 'epsilon'.
        complete (bool): Whether the output convolution and the autoencoder's decoder must be there;
            otherwise zeros take their place. Default True.
        dtype (torch.dtype | None): Of the modules. None: that of the given tensors.

    Returns:
        tuple[Parts, list[str]]: The modules, and the names of weights that are zeros.

    Raises:
        ValueError: Weights are missing, or their shapes are of no Stable Diffusion 1.x or 2.x; one
            sentence says which.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
        create_unet_diffusers_config_from_ldm,
        create_vae_diffusers_config_from_ldm,
    )

    state = dict(state)
    _refuse_other_noise(name, state)
    with shortcomings_named(name):
        original = infer_original_config(state)
        unet_config = create_unet_diffusers_config_from_ldm(original, state)
        vae_config = create_vae_diffusers_config_from_ldm(original, state)
        # the converters consume the dict that they are given
        unet_weights = convert_ldm_unet_checkpoint(dict(state), unet_config)
        vae_weights = convert_ldm_vae_checkpoint(dict(state), vae_config)
        with torch.device('meta'):
            unet = UNet2DConditionModel.from_config(unet_config)
            vae = AutoencoderKL.from_config(vae_config)
    no_unet = _fill(unet, f'the U-Net of {name}', unet_weights, complete, dtype)
    _refuse_left_over(name, state, unet_weights)
    no_vae = _fill(vae, f'the autoencoder of {name}', vae_weights, complete, dtype)
    text = partial(original_text, state, name)
    parts = Parts(vae, unet, dict(_SCHEDULE, prediction_type=prediction_type), text)
    return parts, [f'unet.{key}' for key in no_unet] + [f'vae.{key}' for key in no_vae]


def _refuse_other_noise(name: str, state: Mapping[str, Tensor]) -> None:
    """Checkpoints of a training have its noise schedule among their buffers."""
    stored = state.get('alphas_cumprod')
    if stored is None:
        return
    start, end = (_SCHEDULE[key] ** 0.5 for key in ('beta_start', 'beta_end'))
    expected = (1 - torch.linspace(start, end, _SCHEDULE['num_train_timesteps']) ** 2).cumprod(0)
    if stored.shape != expected.shape or not torch.allclose(stored.float().cpu(), expected, atol=1e-3):
        raise UserError(
            f"{name} was trained with other noise levels than Stable Diffusion's (its 'alphas_cumprod'), which a "
            'single file cannot say in full: give the model as a diffusers folder, whose scheduler says them'
        )


def _refuse_left_over(name: str, state: Mapping[str, Tensor], taken: Mapping[str, Tensor | None]) -> None:
    """The converter leaves out in silence what it does not know, such as further inputs of the U-Net."""
    known = {id(weight) for weight in taken.values()}
    left = [key for key, weight in state.items() if key.startswith(UNET) and id(weight) not in known]
    if left:
        raise UserError(
            f'the U-Net of {name} has {len(left)} weights that Stable Diffusion 1.x and 2.x do not have, for example '
            f'{left[0]!r}: give a model of these'
        )


def _fill(
    module: nn.Module, name: str, weights: Mapping[str, Tensor | None], complete: bool, dtype: torch.dtype | None
) -> list[str]:
    """Give a module without storage its weights, frozen; what there is none for and is zero."""
    # diffusers' converter notes None for some that the file lacks
    found: dict[str, Tensor] = {
        key: value if dtype is None else value.to(dtype) for key, value in weights.items() if value is not None
    }
    expected = module.state_dict()
    missing = [key for key in expected if key not in found]
    needed = [key for key in missing if complete or not key.startswith(_OPTIONAL)]
    if needed:
        raise UserError(
            f'{name} lacks {len(needed)} weights, for example {needed[0]!r} (in the '
            'names of diffusers): the file is incomplete, fetch it again'
        )
    like = next(iter(found.values()))
    found.update({key: torch.zeros(expected[key].shape, dtype=like.dtype, device=like.device) for key in missing})
    check_shapes(name, found, expected)
    unexpected = sorted(found.keys() - expected.keys())
    if unexpected:
        raise UserError(
            f'{name} has {len(unexpected)} weights too many, for example {unexpected[0]!r}: only Stable Diffusion 1.x '
            'and 2.x and smaller models of their layout are supported'
        )
    module.load_state_dict(found, assign=True)
    module.eval().requires_grad_(False)
    return missing
