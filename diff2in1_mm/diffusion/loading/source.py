"""Finding and checking the parts of a pretrained latent diffusion model."""

import json
import os.path as osp
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...utils.compat import clip_text_model
from ...utils.errors import UserError, first_line
from ...utils.values import check_choice
from ..conditions.kept_texts import KeptTexts
from ..padding import latent_stride
from . import original_layout as original
from .components import check_folder
from .folder import load_tokenizer, load_whole
from .hub import reason
from .original_parts import build_parts
from .parts import Parts
from .refusals import refuse_gguf, refuse_other_kinds
from .text_files import text_files

PREDICTION_TYPES = ('epsilon', 'v_prediction')


def load_parts(
    source: str,
    dtype: torch.dtype,
    prediction_type: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
) -> Parts:
    """Load a model from a diffusers folder, a hub id or a single file.

    Args:
        source (str): Folder or hub id in the diffusers layout, or a ``.safetensors`` / ``.ckpt``
            file in the original layout.
        dtype (torch.dtype): Of VAE and U-Net.
        prediction_type (str | None): 'epsilon' or 'v_prediction'. None takes what the model says;
            single files of the 2.x family do not say it.
        variant (str | None): File variant of a diffusers folder, for example 'fp16'.
        revision (str | None): Commit, branch or tag of a hub id.

    Returns:
        Parts: VAE and U-Net in eval mode without gradients.

    Raises:
        ValueError: The source is missing, incomplete or not supported; one sentence says the mend.
    """
    check_choice('prediction_type', prediction_type, (*PREDICTION_TYPES, None))
    check_source(source, variant)
    if revision is not None and (original.is_single_file(source) or osp.isdir(source)):
        raise UserError(
            f'revision = {revision!r} is a commit, branch or tag of a hub id, but '
            f'{source} is on this machine: leave it out'
        )
    if original.is_single_file(source):
        parts = _load_single_file(source, dtype, prediction_type)
    else:
        parts = _load_folder_or_hub(source, dtype, variant, revision)
    if prediction_type is not None:
        parts = parts._replace(schedule={**parts.schedule, 'prediction_type': prediction_type})
    _check_supported(source, parts)
    parts = parts._replace(kept_texts=KeptTexts(partial(text_files, source, revision), f'CLIP {variant}'))
    for module in (parts.vae, parts.unet):
        module.eval().requires_grad_(False)
    return parts


def replace_weights(unet: nn.Module, path: str, source: str) -> None:
    """Give a U-Net the weights of another one of the same architecture.

    Args:
        unet (nn.Module): Keeps its dtype.
        path (str): ``.safetensors``, ``.pth`` or ``.pt`` with the names of diffusers, or a U-Net's folder with its
            ``diffusion_pytorch_model.safetensors``.
        source (str): What the U-Net is of, for the message.

    Raises:
        ValueError: There is no such file, or it is of another architecture; one sentence says what differs.
    """
    file = osp.join(path, 'diffusion_pytorch_model.safetensors') if osp.isdir(path) else path
    if not osp.isfile(file):
        raise UserError(
            f'diffusion.unet = {path!r} '
            + (f'holds no {osp.basename(file)}' if osp.isdir(path) else 'does not exist')
            + ': give a file with the weights of a U-Net, or its folder'
        )
    weights, expected = original.read_tensors(file), unet.state_dict()
    odd = sorted(weights.keys() ^ expected.keys()) or [
        name for name, tensor in expected.items() if weights[name].shape != tensor.shape
    ]
    if odd:
        raise UserError(
            f'{path} does not fit the U-Net of {source} ({len(odd)} weights differ, the first is {odd[0]!r}): give '
            'weights in the names of diffusers, and the model that they were tuned from'
        )
    unet.load_state_dict(weights)


def check_source(source: str, variant: str | None = None) -> None:
    """Looks at a source without loading anything.

    Args:
        source (str): As :func:`load_parts` takes it.
        variant (str | None): As well. Default None.

    Raises:
        ValueError: No such file or folder, an incomplete folder, no hub id, or quantised weights.
    """
    refuse_gguf(source)
    if original.is_single_file(source):
        if not osp.isfile(source):
            raise UserError(
                f'{source} does not exist: give the path of a Stable Diffusion '
                'checkpoint, a diffusers folder or a hub id'
            )
    elif osp.isdir(source):
        check_folder(source, ('unet', 'vae', 'scheduler'), variant, 'a Stable Diffusion 1.x or 2.x model')
    elif source.startswith(('.', '/', '~')) or source.count('/') != 1:
        raise UserError(
            f'{source!r} is neither an existing folder nor a hub id of the form '
            "'owner/name': check the path of the diffusion model"
        )


def trained_side(source: str, usual: int = 512) -> int:
    """Side in pixels of the images that a diffusion model was made for, as its files say.

    Args:
        source (str): As :func:`load_parts` takes it, or a folder of another family.
        usual (int): Of its family, where nothing is on disk to say it. Default 512, as most Stable Diffusion 1.x and
            2.x models have.

    Returns:
        int: The shorter side.
    """
    try:
        denoiser, vae = (denoiser_config(source), _first_config(source, 'vae', 'vqvae'))
        sides = denoiser['sample_size']
        return int(min(sides if isinstance(sides, list) else [sides])) * (latent_stride(vae) if vae else 1)
    except (OSError, ValueError, KeyError, TypeError):
        return usual


def denoiser_config(source: str) -> dict:
    """What a folder says of its U-Net or transformer; empty where there is none."""
    return _first_config(source, 'unet', 'transformer')


def is_told_a_class(denoiser: Mapping) -> bool:
    """Whether a U-Net of this configuration is class-conditional."""
    return bool(denoiser.get('class_embed_type') or denoiser.get('num_class_embeds'))


def _first_config(source: str, *parts: str) -> dict:
    """Configuration of the first of some parts that is there."""
    found = [path for path in (Path(source, part, 'config.json') for part in parts) if path.is_file()]
    return json.loads(found[0].read_text()) if found else {}


def _load_single_file(path: str, dtype: torch.dtype, prediction_type: str | None) -> Parts:
    state = original.read_single_file(path)
    prediction_type = prediction_type or original.stated_prediction(state)
    if prediction_type is None:
        raise UserError(
            f'{path} is of the 2.x family, whose files do not say what they predict: set '
            "prediction_type='v_prediction' (the 768-pixel models) or 'epsilon' (the base models)"
        )
    parts, _ = build_parts(state, path, prediction_type, dtype=dtype)
    return parts._replace(load_text=partial(_text_of_file, path))


def _text_of_file(path: str):
    # read again: kept, the file's other weights would stay in memory
    return original.original_text(original.read_single_file(path), path)


def _load_folder_or_hub(source: str, dtype: torch.dtype, variant: str | None, revision: str | None) -> Parts:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    options = dict(torch_dtype=dtype, use_safetensors=True, variant=variant, revision=revision)
    try:
        configs = [
            kind.load_config(source, subfolder=part, revision=revision)
            for kind, part in ((UNet2DConditionModel, 'unet'), (AutoencoderKL, 'vae'), (DDIMScheduler, 'scheduler'))
        ]
        for config, file in zip(configs, ('unet/config.json', 'vae/config.json', 'scheduler/scheduler_config.json')):
            if not isinstance(config, dict):
                raise UserError(f'{file} of {source} holds no settings: copy the folder again')
        refuse_other_kinds(source, *configs)
        _check_schedule(source, configs[2])
        unet = load_whole(UNet2DConditionModel, source, 'unet', **options)
        vae = load_whole(AutoencoderKL, source, 'vae', **options)
    except OSError as error:
        which = source if revision is None else f'{source} --revision {revision}'
        mend = (
            'see whether its files may be read and are whole, or copy the folder again'
            if osp.isdir(source)
            else f'download it once where there is a network (`hf download {which}`), or give the path of a local '
            'diffusers folder'
        )
        raise UserError(
            f'the diffusion model {source!r} could not be loaded ({reason(source, error)}): {mend}'
        ) from error
    # no closure, so that torch.save takes a whole model
    return Parts(vae, unet, dict(configs[2]), partial(_text_of_source, source, variant, revision))


def _check_schedule(source: str, schedule: dict) -> None:
    from diffusers import DDIMScheduler

    try:
        DDIMScheduler.from_config(schedule)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UserError(
            f'scheduler/scheduler_config.json of {source} has settings that diffusers does not take '
            f'({first_line(error)}): correct them, or copy the folder again'
        ) from error
    betas, steps = schedule.get('trained_betas'), schedule.get('num_train_timesteps', 1000)
    if betas is not None and len(betas) != steps:  # diffusers looks at neither
        raise UserError(
            f'scheduler/scheduler_config.json of {source} has {len(betas)} trained_betas for {steps} '
            'num_train_timesteps: they must be as many'
        )


def _text_of_source(source: str, variant: str | None, revision: str | None):
    try:
        encoder = _text_encoder(source, variant, revision)
        tokenizer = load_tokenizer(source, revision)
    except OSError as error:
        raise UserError(
            f'{source!r} has no usable text encoder and tokenizer ({reason(source, error)}): '
            'complete the folder, or use `PrecomputedEmbeddings` as condition'
        ) from error
    # Some folders hold half precision, which CPUs do not compute in.
    return tokenizer, encoder.float().eval()


def _text_encoder(source: str, variant: str | None, revision: str | None):
    whole = partial(load_whole, clip_text_model(), source, 'text_encoder', use_safetensors=True, revision=revision)
    try:
        return whole(variant=variant)
    except OSError:
        if variant is None:
            raise
        return whole()  # some have it in full only


def _check_supported(source: str, parts: Parts) -> None:
    unet, vae, schedule = parts.unet.config, parts.vae.config, parts.schedule
    if unet.get('addition_embed_type') or unet.get('class_embed_type'):
        raise UserError(
            f'{source} is conditioned on more than a text (an unCLIP model, or one of SDXL without its '
            'model_index.json), which is not supported: use a text-to-image model with that file'
        )
    if unet.in_channels != vae.latent_channels:
        raise UserError(
            f'{source} has a U-Net of {unet.in_channels} input channels for latents of '
            f'{vae.latent_channels}: inpainting, depth and editing models are not supported, use a '
            'text-to-image model'
        )
    if schedule.get('prediction_type', 'epsilon') not in PREDICTION_TYPES:
        raise UserError(f'{source} predicts {schedule["prediction_type"]!r}; supported are {PREDICTION_TYPES}')
