"""Models that load like Stable Diffusion but compute otherwise, named before their weights are read."""

import re
from collections.abc import Iterable, Mapping

from ...utils.errors import UserError

_USE = 'use Stable Diffusion 1.x or 2.x'
_PUBLISHED = 'give the folder as it was published, or another model'
_FOLDER = 'give the diffusers folder or hub id of the model'
_VARIANT = re.compile(r'\.(\w+)(-\d+-of-\d+)?\.safetensors$')
_ADAPTER = re.compile(r'lora_|\.lora\.|\.base_layer\.|\.(hada|lokr)_w')
_QUANTISED = re.compile(r'\.(qweight|qzeros|wscales|absmax|quant_map|quant_state|weight_scale|scale_weight)\b')
# Kinds of single files by a key that only they have, what to say of them, and the mend.
_SINGLE_FILES = (
    (
        r'^(?!model\.diffusion_model\.).*(lora_|\.(hada|lokr)_w)',
        'is or holds a LoRA, which is an addition to a model',
        'fuse it into that model in diffusers (`load_lora_weights`, `fuse_lora`, `unload_lora_weights`), save it, '
        'and give that folder',
    ),
    (
        _ADAPTER.pattern,
        'was saved with LoRA layers',
        'fuse them (`fuse_lora` and `unload_lora_weights` in diffusers), and save it again',
    ),
    (r'^conditioner\.embedders', 'is a single file of SDXL, of which only folders are read', _FOLDER),
    (
        r'^(model\.diffusion_model\.)?((joint|double|transformer)_blocks|blocks\.\d+\.(cross_)?attn|noise_refiner)\.',
        'is a single file of a transformer (SD 3, FLUX, PixArt, Sana, ...), of which only folders are read',
        _FOLDER,
    ),
    (
        r'^model\.diffusion_model\.time_embed\.cond_proj\.',
        'is a single file of a latent consistency model, of which only folders are read',
        _FOLDER,
    ),
    (r'^(edm_|ztsnr$)', 'has another kind of noise levels, which are not supported', _USE),
    (
        r'^(first_stage_model\.)?(encoder|decoder)\.(layers\.)?\d+\.',
        'has an AutoencoderTiny, which is not supported',
        'give the file with the AutoencoderKL of the model',
    ),
    (
        r'^(down_blocks|(encoder|decoder)\.(down|up)_blocks)\.',
        'is one part of a diffusers folder',
        'give that folder, which has model_index.json, unet/ and vae/',
    ),
)


def refuse_other_kinds(source: str, unet: Mapping, vae: Mapping, schedule: Mapping) -> None:
    """Stop on what Stable Diffusion's formulas would be silently wrong for.

    Args:
        source (str): Where the configs are from, for the message.
        unet (Mapping): Config of the denoiser.
        vae (Mapping): Config of the autoencoder.
        schedule (Mapping): Config of the scheduler.

    Raises:
        ValueError: One sentence that names the kind.
    """
    scheduler = str(schedule.get('_class_name', ''))
    if scheduler.startswith(('FlowMatch', 'EDM')) or schedule.get('use_flow_sigmas'):
        kind = 'use_flow_sigmas' if schedule.get('use_flow_sigmas') else scheduler
        raise UserError(
            f'{source} has another kind of noise levels ({kind}) than such models are trained with: {_PUBLISHED}'
        )
    refuse_tiny_autoencoder(source, vae)
    shifted = [name for name in ('shift_factor', 'latents_mean', 'latents_std') if vae.get(name)]
    if shifted:
        raise UserError(
            f'the vae of {source} shifts its latents ({", ".join(shifted)}), as those of other families do: '
            f'{_PUBLISHED}'
        )


def refuse_tiny_autoencoder(source: str, vae: Mapping) -> None:
    """Stop on an autoencoder that was distilled for previews (TAESD), whose latents are no posterior's.

    Args:
        source (str): Where the config is from, for the message.
        vae (Mapping): Config of the autoencoder.

    Raises:
        ValueError: It is one.
    """
    if vae.get('_class_name') == 'AutoencoderTiny':
        raise UserError(
            f'the vae of {source} is an AutoencoderTiny, which is not supported: give the folder with the '
            'autoencoder that the model was trained with'
        )


def refuse_other_files(path: str, names: Iterable[str]) -> None:
    """Stop on single files that are of another kind, or of which a part would be left out.

    Args:
        path (str): Of the file, for the message.
        names (Iterable[str]): Of its weights.

    Raises:
        ValueError: One sentence that names the kind and the weight that tells it.
    """
    names = list(names)
    for mark, kind, mend in _SINGLE_FILES:
        found = next(filter(re.compile(mark).search, names), None)
        if found is not None:
            raise UserError(f'{path} {kind} (it has {found!r}): {mend}')


def refuse_gguf(path: str) -> None:
    """Stop on a file of quantised weights.

    Raises:
        ValueError: It is one.
    """
    if path.endswith('.gguf'):
        raise UserError(
            f'{path} holds quantised weights (GGUF), which are not supported: give the diffusers folder or hub id of '
            'the model in full or half precision'
        )


def refuse_adapters(source: str, part: str, names: Iterable[str]) -> None:
    """Stop on weights that hold an adapter beside those of the model.

    Args:
        source (str): Folder or hub id.
        part (str): Its subfolder.
        names (Iterable[str]): Weights that the class does not know.

    Raises:
        ValueError: Some are of LoRA.
    """
    lora = list(filter(_ADAPTER.search, names))
    if lora:
        raise UserError(
            f'the {part} of {source} was saved with LoRA layers ({lora[0]!r}): load it in diffusers, call '
            '`fuse_lora()` and `unload_lora_weights()`, and save it again'
        )


def refuse_scales(source: str, part: str, names: Iterable[str]) -> None:
    """Stop on weights that hold the scales of quantised ones, whatever their configuration says.

    Args:
        source (str): Folder or hub id.
        part (str): Its subfolder.
        names (Iterable[str]): Weights that the class does not know.

    Raises:
        ValueError: Some are such scales.
    """
    found = next(filter(_QUANTISED.search, names), None)
    if found is not None:
        raise UserError(
            f'the {part} of {source} holds quantised weights (it has {found!r}), which are not supported: give the '
            'model in full or half precision'
        )


def refuse_quantised(source: str, part: str, config: Mapping) -> None:
    """Stop on weights of a few bits (bitsandbytes, GGUF, torchao, ...), before they are read.

    Args:
        source (str): Folder or hub id.
        part (str): Its subfolder.
        config (Mapping): What the part's ``config.json`` says.

    Raises:
        ValueError: They are quantised; it says how.
    """
    found = config.get('quantization_config')
    if found:
        raise UserError(
            f'the {part} of {source} holds quantised weights ({found.get("quant_method", "of an unnamed method")}), '
            'which are not supported: give the model in full or half precision'
        )


def refuse_unnamed_variant(folder: str, files: Iterable[str], variant: str | None) -> None:
    """Stop where all weights of a folder are of a variant that was not asked for.

    Raises:
        ValueError: It says which to ask for.
    """
    variants = [found and found[1] for found in map(_VARIANT.search, files)]
    if variant is None and variants and all(variants):
        raise UserError(
            f'{folder} holds weights of the variant {variants[0]!r} only: set variant={variants[0]!r} beside the '
            f'source (diffusion=dict(source=..., variant={variants[0]!r}))'
        )
