"""Diffusion models in the original (CompVis) key layout, as diffusers modules."""
import os.path as osp
from typing import Dict, List, Mapping, Optional, Tuple

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint,
                                                 create_unet_diffusers_config_from_ldm,
                                                 create_vae_diffusers_config_from_ldm)
from torch import Tensor, nn

from ..diffusion.loading import Parts
from ..diffusion.original_layout import infer_original_config, original_text

UNET, VAE = 'model.diffusion_model.', 'first_stage_model.'

# What a model that only perceives does without, as VPD's checkpoints do.
_OPTIONAL = ('conv_norm_out.', 'conv_out.', 'decoder.', 'post_quant_conv.')

# Stable Diffusion's.
_SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012,
                 beta_schedule='scaled_linear', clip_sample=False, set_alpha_to_one=False,
                 steps_offset=1)


def build_parts(state: Mapping[str, Tensor], prediction_type: str = 'epsilon',
                complete: bool = True) -> Tuple[Parts, List[str]]:
    """Diffusers modules with the weights of a state dict.

    Nothing is copied: the modules hold the given tensors, in their dtype and on their device.

    Args:
        state (Mapping[str, Tensor]): ``model.diffusion_model.*`` and ``first_stage_model.*``.
        prediction_type (str): 'epsilon' or 'v_prediction'. Default 'epsilon'.
        complete (bool): Whether the output convolution and the autoencoder's decoder must be there;
            otherwise zeros take their place. Default True.

    Returns:
        tuple[Parts, list[str]]: The modules, and the names of weights that are zeros.

    Raises:
        ValueError: Weights are missing, or their shapes are of no Stable Diffusion 1.x or 2.x.
    """
    state = dict(state)
    try:
        original = infer_original_config(state)
        unet_config = create_unet_diffusers_config_from_ldm(original, state)
        vae_config = create_vae_diffusers_config_from_ldm(original, state)
        weights = convert_ldm_unet_checkpoint(dict(state), unet_config)
        vae_weights = convert_ldm_vae_checkpoint(dict(state), vae_config)
    except (KeyError, IndexError, StopIteration) as error:
        raise ValueError('the weights of the diffusion model are incomplete or not those of Stable '
                         f'Diffusion 1.x or 2.x ({str(error) or "no cross-attention"} is missing): '
                         'fetch the file again') from error
    unet, no_unet = _load(UNet2DConditionModel, unet_config, weights, complete)
    vae, no_vae = _load(AutoencoderKL, vae_config, vae_weights, complete)

    def load_text():
        return original_text(state)

    parts = Parts(vae, unet, dict(_SCHEDULE, prediction_type=prediction_type), load_text)
    return parts, [f'unet.{name}' for name in no_unet] + [f'vae.{name}' for name in no_vae]


def _load(kind: type, config: dict, weights: Dict[str, Tensor],
          complete: bool) -> Tuple[nn.Module, List[str]]:
    with torch.device('meta'):
        module = kind.from_config(config)
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights]
    needed = [name for name in missing if complete or not name.startswith(_OPTIONAL)]
    if needed:
        raise ValueError(f'{kind.__name__} lacks {len(needed)} weights, for example {needed[0]!r} '
                         '(in the names of diffusers): the file is incomplete, fetch it again')
    like = next(iter(weights.values()))
    weights.update({name: torch.zeros(expected[name].shape, dtype=like.dtype, device=like.device)
                    for name in missing})
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f'{name!r} of {kind.__name__} has the shape {tuple(weights[name].shape)} where '
                f'{tuple(tensor.shape)} is expected: only Stable Diffusion 1.x and 2.x and smaller '
                'models of their layout are supported')
    unexpected = sorted(weights.keys() - expected.keys())
    if unexpected:
        raise ValueError(f'{kind.__name__} has {len(unexpected)} weights too many, for example '
                         f'{unexpected[0]!r}: only Stable Diffusion 1.x and 2.x and smaller models '
                         'of their layout are supported')
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False), missing


def save_parts(parts: Parts, folder: str, text: Optional[Tuple] = None) -> None:
    """Write a diffusers folder.

    Args:
        parts (Parts): What to write.
        folder (str): Where; made where it is missing.
        text (tuple | None): Tokenizer and text encoder. With them the folder is a complete
            ``StableDiffusionPipeline``.
    """
    scheduler = DDIMScheduler(**parts.schedule)
    if text is not None:
        StableDiffusionPipeline(
            vae=parts.vae, text_encoder=text[1], tokenizer=text[0], unet=parts.unet,
            scheduler=scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False).save_pretrained(folder, safe_serialization=True)
        return
    for name, part in (('unet', parts.unet), ('vae', parts.vae), ('scheduler', scheduler)):
        part.save_pretrained(osp.join(folder, name))
