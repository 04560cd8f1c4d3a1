"""Single-file checkpoints in the original (CompVis / Stability) key layout.

The architecture is read from the shapes of the weights, so that no configuration file has to be
fetched: Stable Diffusion 1.x and 2.x, and smaller models of the same layout.
"""

import os.path as osp
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...utils.compat import load_weights_only
from ...utils.errors import UserError, first_line
from ..conditions.clip_texts import clip_tokenizer
from .refusals import refuse_gguf, refuse_other_files

#: Beginnings of keys.
UNET = 'model.diffusion_model.'
VAE = 'first_stage_model.'
_CLIP = 'cond_stage_model.transformer.'
_OPEN_CLIP = 'cond_stage_model.model.'


def read_single_file(path: str) -> dict[str, Tensor]:
    """Read a ``.safetensors`` or ``.ckpt`` file without unpickling code.

    Args:
        path (str): The file.

    Returns:
        dict[str, Tensor]: The original state dict, tensors on the CPU.

    Raises:
        ValueError: The file is damaged, needs code to be unpickled, or is no original-layout latent
            diffusion model; the message says what to do.
    """
    state = read_tensors(path)
    refuse_other_models(path, state)
    return state


def read_tensors(path: str) -> dict[str, Tensor]:
    """Read the weights of a ``.safetensors``, ``.ckpt``, ``.pth`` or ``.pt`` file of any layout.

    No code is unpickled. Where training saved more than weights, these are what stands under
    ``state_dict`` or ``model``.

    Args:
        path (str): The file.

    Returns:
        dict[str, Tensor]: By the names of the file, tensors on the CPU.

    Raises:
        OSError: The file cannot be read at all.
        ValueError: The file is damaged, needs code to be unpickled or holds no tensors; the message
            says what to do.
    """
    refuse_gguf(path)
    content = _read_safetensors(path) if path.endswith('.safetensors') else _read_pickle(path)
    for name in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    state = {}
    if isinstance(content, dict):
        state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise UserError(
            f'{path} holds no weights by name, neither itself nor under "state_dict" '
            'or "model": give a checkpoint of a model'
        )
    return state


def _read_safetensors(path: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f'{path} is not a readable safetensors file ({error}); it may be a pickle '
            'with the wrong name or a broken download: fetch it again'
        ) from error


def _read_pickle(path: str) -> Any:
    try:
        return load_weights_only(path, 'cpu')
    except OSError:
        raise  # the file may be well, the disk is not
    except Exception as error:  # damaged bytes are instructions too, and fail in many ways
        raise UserError(
            f'{path} cannot be read as plain tensors (it holds pickled Python objects, as files '
            'written by Lightning do, or is damaged): use the .safetensors version of the model, '
            'or, only if you trust the file, keep its weights alone: python -c "import torch; '
            f"torch.save(torch.load('{osp.basename(path)}', weights_only=False)['state_dict'], "
            "'weights.pth')\""
        ) from error


@contextmanager
def shortcomings_named(name: str) -> Iterator[None]:
    """Turn what reading an architecture from weights stumbles over into one sentence.

    Args:
        name (str): Of the file.

    Raises:
        ValueError: Instead of what missing weights and wrong shapes lead to.
    """
    try:
        yield
    except KeyError as error:
        raise UserError(
            f'{name} lacks the weight {error}: the file is incomplete or of another '
            'model than Stable Diffusion 1.x or 2.x, fetch it again'
        ) from error
    except (IndexError, ValueError, RuntimeError, ZeroDivisionError) as error:  # of wrong shapes
        raise UserError(
            f'the shapes of the weights of {name} are not those of Stable Diffusion '
            f'1.x or 2.x or a smaller model of their layout ({first_line(error)}): '
            'give another file, or fetch it again'
        ) from error


def check_shapes(name: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare weights with those that a module has.

    Args:
        name (str): Of the module, for the message.
        weights (Mapping[str, Tensor]): What is to be loaded; what it lacks is not looked at.
        expected (Mapping[str, Tensor]): State dict of the module.

    Raises:
        ValueError: One has another shape.
    """
    for key, tensor in expected.items():
        if key in weights and weights[key].shape != tensor.shape:
            raise UserError(
                f'{key!r} of {name} has the shape {tuple(weights[key].shape)} where '
                f'{tuple(tensor.shape)} is expected: only Stable Diffusion 1.x and 2.x and smaller '
                'models of their layout are supported'
            )


def refuse_other_models(path: str, state: dict[str, Tensor]) -> None:
    """Stop on what is no latent diffusion model of the 1.x or 2.x family.

    Args:
        path (str): Where it came from, for the message.
        state (dict[str, Tensor]): An original-layout state dict.

    Raises:
        ValueError: One sentence that names what it is.
    """
    refuse_other_files(path, state)
    if not any(key.startswith(UNET) for key in state):
        raise UserError(
            f'{path} holds no U-Net in the original key layout (no key begins with '
            f'{UNET!r}): a complete Stable Diffusion 1.x or 2.x checkpoint is needed'
        )
    last = f'{VAE}encoder.conv_out.weight'
    if last not in state:
        raise UserError(
            f'{path} holds no autoencoder (there is no {last!r}): a complete '
            'Stable Diffusion 1.x or 2.x checkpoint is needed'
        )
    with shortcomings_named(path):
        channels = state[f'{UNET}input_blocks.0.0.weight'].shape[1]
        latent = _latent_channels(state)
    if channels != latent:
        raise UserError(
            f'{path} has a U-Net of {channels} input channels for latents of {latent}: inpainting, '
            'depth and editing models and autoencoders of other families are not supported, use a text-to-image '
            'checkpoint'
        )


def _latent_channels(state: dict[str, Tensor]) -> int:
    # mean and logarithm of the variance
    return state[f'{VAE}encoder.conv_out.weight'].shape[0] // 2


def is_v2(state: Mapping[str, Tensor]) -> bool:
    """Whether the U-Net is of the 2.x family (linear projections around its transformers)."""
    return any(
        key.startswith(UNET) and key.endswith('.proj_in.weight') and value.ndim == 2 for key, value in state.items()
    )


def stated_prediction(state: Mapping[str, Tensor]) -> str | None:
    """What the U-Net predicts, 'epsilon' or 'v_prediction'; None for the 2.x family, whose files seldom say it."""
    if 'v_pred' in state:  # an empty tensor that trainers write as a mark
        return 'v_prediction'
    return None if is_v2(state) else 'epsilon'


def infer_original_config(state: dict[str, Tensor]) -> dict:
    """The original YAML configuration, as a dict, from the shapes of the weights.

    Args:
        state (dict[str, Tensor]): An original-layout state dict; it may lack what a perception
            model does without, the U-Net's output convolution and the autoencoder's decoder.

    Returns:
        dict: What ``from_single_file(original_config=...)`` of diffusers takes.

    Raises:
        KeyError: A weight that tells the architecture is missing.
    """
    return dict(
        model=dict(
            params=dict(
                linear_start=0.00085,
                linear_end=0.012,
                timesteps=1000,
                scale_factor=0.18215,
                unet_config=dict(params=_unet_params(state)),
                first_stage_config=dict(params=dict(ddconfig=_vae_params(state))),
            )
        )
    )


def _unet_params(state: dict[str, Tensor]) -> dict:
    # Input blocks are: the first convolution, then per level `res` layers and one downsampler.
    down = sorted(
        int(key[len(UNET) :].split('.')[1])
        for key in state
        if key.startswith(f'{UNET}input_blocks.') and key.endswith('.0.op.weight')
    )
    if not down:
        raise KeyError(f'{UNET}input_blocks.*.0.op.weight')
    num_layers = down[0] - 1
    width = state[f'{UNET}input_blocks.0.0.weight'].shape[0]
    first_of_level = [1 + level * (num_layers + 1) for level in range(len(down) + 1)]
    attention = [
        level for level, block in enumerate(first_of_level) if f'{UNET}input_blocks.{block}.1.proj_in.weight' in state
    ]
    context = next(
        (value.shape[1] for key, value in state.items() if key.startswith(UNET) and key.endswith('attn2.to_k.weight')),
        None,
    )
    if context is None:
        raise KeyError(f'{UNET}*.attn2.to_k.weight')
    first = state[f'{UNET}input_blocks.0.0.weight']
    params = dict(
        in_channels=first.shape[1],
        out_channels=state.get(f'{UNET}out.2.weight', first.transpose(0, 1)).shape[0],
        model_channels=width,
        num_res_blocks=num_layers,
        context_dim=context,
        transformer_depth=1,
        attention_resolutions=[2**level for level in attention],
        channel_mult=[_out_channels(state, block) // width for block in first_of_level],
    )
    if is_v2(state):
        params.update(num_head_channels=64, use_linear_in_transformer=True)
    else:
        params.update(num_heads=8)
    return params


def _out_channels(state: dict[str, Tensor], block: int) -> int:
    return state[f'{UNET}input_blocks.{block}.0.out_layers.3.weight'].shape[0]


def _vae_params(state: dict[str, Tensor]) -> dict:
    encoder = f'{VAE}encoder.'
    width = state[f'{encoder}conv_in.weight'].shape[0]
    last_conv = '.block.0.conv2.weight'
    levels = [
        state[f'{encoder}down.{level}{last_conv}'].shape[0]
        for level in range(_count(state, f'{encoder}down.', last_conv))
    ]
    return dict(
        ch=width,
        ch_mult=[channels // width for channels in levels],
        num_res_blocks=_count(state, f'{encoder}down.0.block.', '.conv2.weight'),
        in_channels=state[f'{encoder}conv_in.weight'].shape[1],
        out_ch=state[f'{encoder}conv_in.weight'].shape[1],
        z_channels=_latent_channels(state),
    )


def _count(state: dict[str, Tensor], prefix: str, suffix: str) -> int:
    count = 0
    while f'{prefix}{count}{suffix}' in state:
        count += 1
    return count


def original_text(state: dict[str, Tensor], name: str = 'the checkpoint') -> tuple:
    """Build the CLIP tokenizer and text encoder of a single-file checkpoint.

    Args:
        state (dict[str, Tensor]): An original-layout state dict.
        name (str): Of the file, for messages. Default 'the checkpoint'.

    Returns:
        tuple: ``CLIPTokenizer``, which pads as the U-Net was trained, and ``CLIPTextModel``, in
        eval mode, float32 on the CPU.

    Raises:
        ImportError: MMSegmentation, which has CLIP's vocabulary, is not installed.
        ValueError: The file has no text encoder, or weights of it are missing or of other shapes.
    """
    encoder = _text_encoder(state, name)
    # OpenCLIP fills up with zeros, CLIP with the end of the text.
    pad_token = '!' if _is_open_clip(state) else '<|endoftext|>'
    return clip_tokenizer(encoder.config.max_position_embeddings, pad_token), encoder


def _is_open_clip(state: dict[str, Tensor]) -> bool:
    return any(key.startswith(_OPEN_CLIP) for key in state)


def _text_encoder(state: dict[str, Tensor], name: str):
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel

    open_clip = _is_open_clip(state)
    if not open_clip and not any(key.startswith(_CLIP) for key in state):
        raise UserError(
            f'{name} has no text encoder: use `PrecomputedEmbeddings` as the condition, or a complete checkpoint'
        )
    with shortcomings_named(name):
        model = CLIPTextModel(CLIPTextConfig(**_clip_config(state, open_clip)))
        weights = convert_open_clip_checkpoint(model, state) if open_clip else convert_ldm_clip_checkpoint(state)
    # `CLIPTextModel` lost its inner `text_model` in transformers 5.6.
    expected = model.state_dict()
    weights = {
        key if key in expected else key.removeprefix('text_model.'): value.float() for key, value in weights.items()
    }
    missing = [key for key in expected if key not in weights and 'position_ids' not in key]
    if missing:
        raise UserError(
            f'the text encoder of {name} lacks {len(missing)} weights, for example '
            f'{missing[0]!r}: the file is incomplete, fetch it again'
        )
    check_shapes(f'the text encoder of {name}', weights, expected)
    model.load_state_dict({key: weights[key] for key in expected if key in weights}, strict=False)
    return model.eval()


def _clip_config(state: dict[str, Tensor], open_clip: bool) -> dict:
    if open_clip:
        token = state[f'{_OPEN_CLIP}token_embedding.weight']
        position = state[f'{_OPEN_CLIP}positional_embedding']
        fc1 = state[f'{_OPEN_CLIP}transformer.resblocks.0.mlp.c_fc.weight']
        # The 2.x models condition on the last layer but one, as their released configs do.
        layers = _count(state, f'{_OPEN_CLIP}transformer.resblocks.', '.ln_1.weight') - 1
        head_dim, activation = 64, 'gelu'
    else:
        text = f'{_CLIP}text_model.'
        token = state[f'{text}embeddings.token_embedding.weight']
        position = state[f'{text}embeddings.position_embedding.weight']
        fc1 = state[f'{text}encoder.layers.0.mlp.fc1.weight']
        layers = _count(state, f'{text}encoder.layers.', '.layer_norm1.weight')
        head_dim, activation = 64, 'quick_gelu'
    vocabulary, width = token.shape
    return dict(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=fc1.shape[0],
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // head_dim),
        max_position_embeddings=position.shape[0],
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=0 if open_clip else vocabulary - 1,
    )


def is_single_file(source: str) -> bool:
    """Whether ``source`` names a single-file checkpoint rather than a folder or a hub id."""
    return source.endswith(('.safetensors', '.ckpt')) or osp.isfile(source)
