"""LoRA (Hu et al. 2022) in diffusers' format: what was trained here, and files of other makers, fused into a model."""

import inspect
import os.path as osp
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..utils.errors import NotInstalledError, UserError, first_line
from ..utils.requirements import is_installed
from .latent_model import LatentModel
from .loading.hub import hub_file, reason
from .loading.original_layout import read_tensors

#: What diffusers calls the file in a folder or on a hub.
LORA_FILE = 'pytorch_lora_weights.safetensors'
# Matrices, in the names of diffusers, of peft and of other makers.
_MATRICES = ('lora_A.', 'lora_B.', 'lora.down.', 'lora.up.', 'lora_down.', 'lora_up.')
_OF_TEXT = ('text_encoder', 'lora_te')


def lora_weights(model: LatentModel) -> dict[str, Tensor]:
    """The LoRA that a model is trained with, as ``load_lora_weights`` of its pipeline reads it.

    Alpha over rank is multiplied into the second matrix, since readers that are not told alpha take the rank.

    Args:
        model (LatentModel): Of :func:`with_gradients`.

    Returns:
        dict[str, Tensor]: Two matrices for each layer that is adapted, on the CPU; empty where there is no LoRA.
    """
    weights, layers = {}, dict(model.denoiser.named_modules())
    for path, layer in layers.items():
        if hasattr(layer, 'lora_A'):
            first, second = (getattr(layer, name)['default'].weight.detach() for name in ('lora_A', 'lora_B'))
            place = f'{model.denoiser_name}.{path}'
            weights[f'{place}.lora_A.weight'] = first.cpu().contiguous()
            weights[f'{place}.lora_B.weight'] = (second * layer.scaling['default']).cpu().contiguous()
    return weights


def fuse_lora(model: LatentModel, source: str, pipeline: str) -> None:
    """Add the products of a LoRA's matrices to the weights of a frozen denoiser, which then costs what it did.

    Args:
        model (LatentModel): It is changed.
        source (str): File, folder or hub id.
        pipeline (str): Class of diffusers that the model is of. Where that reads LoRA, so it is read, in any of the
            formats that diffusers knows; else in that of :func:`lora_weights`.

    Raises:
        ValueError: There is no such file, it holds no LoRA, one of text encoders too, or of another model.
        ImportError: peft is missing, by which diffusers reads it.
    """
    path = lora_file(source)
    try:
        with safe_open(path, 'pt') as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise UserError(
            f'diffusion.lora = {source!r} is not a readable safetensors file ({first_line(error)}): fetch it again'
        ) from error
    matrices = [name for name in names if any(mark in name for mark in _MATRICES)]
    if not matrices:
        raise UserError(f'diffusion.lora = {source!r} holds no LoRA (its first weight is {names[:1]}): give one')
    if any(name.startswith(_OF_TEXT) for name in matrices):
        raise UserError(
            f'diffusion.lora = {source!r} changes the text encoder too, which is not supported: fuse it into a copy of '
            'the model in diffusers (`load_lora_weights`, `fuse_lora`, `save_pretrained`), and make that the source'
        )
    import diffusers

    kind = getattr(diffusers, pipeline)
    if hasattr(kind, 'load_lora_weights'):
        found = _fuse_by_diffusers(model, kind, path)
    else:
        found = _fuse_products(model, path)
    if found < len(matrices):
        raise UserError(
            f'diffusion.lora = {source!r} does not fit {model.source!r}: of its {len(matrices)} matrices {found} find '
            'a layer; give the model that it was trained on'
        )
    model.freeze()
    model.source = f'{model.source} with the LoRA of {source}'


def lora_file(source: str) -> str:
    """The file of a LoRA.

    Args:
        source (str): The file itself, a folder or hub id that holds ``pytorch_lora_weights.safetensors``.

    Raises:
        ValueError: There is none.
    """
    path = osp.join(source, LORA_FILE) if osp.isdir(source) else source
    if osp.isfile(path) and path.endswith('.safetensors'):
        return path
    if osp.exists(source) or source.startswith(('.', '/', '~')) or source.count('/') != 1:
        raise UserError(
            f'diffusion.lora = {source!r} is no .safetensors file, no folder with {LORA_FILE} and no hub id: check the '
            'path'
        )
    try:
        return hub_file(source, LORA_FILE)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f'diffusion.lora = {source!r} could not be loaded ({reason(source, error)}): download it once where '
            f'there is a network (`hf download {source} {LORA_FILE}`), or give the path of a file'
        ) from error


def _fuse_by_diffusers(model: LatentModel, kind: Any, path: str) -> int:
    """Through the pipeline's own reader; how many matrices found a layer."""
    if not is_installed('peft'):
        raise NotInstalledError('diffusion.lora needs peft, which is not installed: run `pip install peft`')
    denoiser: Any = model.denoiser
    try:
        _pipeline_around(model, kind).load_lora_weights(osp.dirname(path) or '.', weight_name=osp.basename(path))
    except (ValueError, LookupError, RuntimeError) as error:  # such as half of the matrices
        raise UserError(
            f'diffusion.lora: {path} does not fit {model.source!r} ({first_line(error)}): give the model that it was '
            'trained on'
        ) from error
    found = 2 * sum(hasattr(layer, 'lora_A') for layer in denoiser.modules())
    denoiser.fuse_lora()
    denoiser.unload_lora()
    return found


def _pipeline_around(model: LatentModel, kind: Any) -> Any:
    """The pipeline with the model's parts, and without text encoders, which it does without."""
    parameters = inspect.signature(kind.__init__).parameters
    needed = [name for name, p in parameters.items() if name != 'self' and p.default is p.empty]
    parts = dict.fromkeys(needed) | {'vae': model.vae, model.denoiser_name: model.denoiser}
    if 'scheduler' in needed:
        parts['scheduler'] = getattr(model, 'scheduler', None)
    if 'requires_safety_checker' in parameters:
        parts['requires_safety_checker'] = False
    return kind(**parts)


@torch.no_grad()
def _fuse_products(model: LatentModel, path: str) -> int:
    """Layer by layer; how many matrices found one."""
    weights = read_tensors(path)
    layers: dict[str, Any] = dict(model.denoiser.named_modules())
    found = 0
    for name, second in weights.items():
        place, _, end = name.partition('.lora_')
        layer = layers.get(place.removeprefix(f'{model.denoiser_name}.'))
        first = weights.get(f'{place}.lora_A.weight')
        if end != 'B.weight' or layer is None or first is None:
            continue
        product = second.float().flatten(1) @ first.float().flatten(1)
        if product.numel() == layer.weight.numel():
            layer.weight += product.view_as(layer.weight).to(layer.weight)
            found += 2
    return found
